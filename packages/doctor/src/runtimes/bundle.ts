import { readdir, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Check, type Finding, finding } from '../check.ts'
import { isAbsent, quoted } from '../faults.ts'
import { lastLine, run } from '../host/command.ts'

/** The runtime bundles that were staged: is everything in them, and does their Node run? */
export const bundleCheck: Check = {
  id: 'runtimes/bundle',
  limitMs: 30_000,
  async detect({ home, progress, note }) {
    const names = await readdir(home.runtime).catch((error) => {
      if (isAbsent(error)) return []
      throw error
    })
    const bundles = names.filter((name) => /^[0-9a-f]{64}$/.test(name)).sort()
    if (bundles.length === 0) {
      note('No runtime bundle has been staged yet: the first sandbox does that.')
      return []
    }
    const findings: Finding[] = []
    for (const name of bundles) {
      const path = join(home.runtime, name)
      const problem = (await incomplete(path)) ?? (await broken(path, progress))
      if (problem === undefined) {
        note(`The runtime bundle ${name.slice(0, 12)} is whole and runs.`)
        continue
      }
      const message = `The runtime bundle ${path} is damaged: ${problem}`
      // It is staged anew under the same name by the next sandbox.
      findings.push(finding('error', message, `mv ${quoted(path)} ${quoted(`${path}.damaged`)}`, { path }))
    }
    return findings
  },
}

async function incomplete(path: string): Promise<string | undefined> {
  let files: { target?: unknown; size?: unknown }[]
  try {
    files = JSON.parse(await readFile(join(path, 'manifest.json'), 'utf8')) as typeof files
    if (!Array.isArray(files) || files.length === 0) return 'its manifest lists nothing.'
  } catch (error) {
    return `its manifest cannot be read: ${(error as Error).message}.`
  }
  for (const { target, size } of files) {
    const found = await stat(join(path, String(target))).catch(() => undefined)
    if (!found) return `${target} is not there.`
    if (found.size !== size) return `${target} has a wrong size.`
  }
  return undefined
}

async function broken(path: string, progress: Parameters<typeof run>[2]): Promise<string | undefined> {
  const args = ['--library-path', join(path, 'lib'), join(path, 'coppice-supervisor'), '--version']
  const ran = await run(join(path, 'ld.so'), args, progress)
  if (ran?.exitCode === 0 && /^v\d+\./.test(ran.text)) return undefined
  return `its Node does not run: ${lastLine(ran?.text ?? 'the loader is not there')}`
}
