import { existsSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CoppiceError } from '@coppice/protocol/wire'
import { sharedLibraries } from './shared-libraries.ts'

/** Machines that a bundle can be staged for, in Node's words. */
export const RUNTIME_ARCHITECTURES = ['x64', 'arm64'] as const
export type RuntimeArch = (typeof RUNTIME_ARCHITECTURES)[number]

/** One file of the bundle that is a copy of a file of this machine. */
export interface InputFile {
  /** Path in the bundle. */
  target: string
  source: string
  executable: boolean
}

interface Program {
  target: string
  candidates: string[]
  hint: string
}

/** Programs of the host's distribution. busybox and tini must be static: they run in images that hold no library. */
const PROGRAMS: Program[] = [
  { target: 'busybox', candidates: ['/bin/busybox', '/usr/bin/busybox'], hint: 'apt-get install busybox-static' },
  { target: 'tini', candidates: ['/usr/bin/tini-static', '/usr/local/bin/tini-static'], hint: 'apt-get install tini' },
  { target: 'setpriv', candidates: ['/usr/bin/setpriv', '/bin/setpriv'], hint: 'apt-get install util-linux' },
]

const INIT_SCRIPT = fileURLToPath(new URL('../init.sh', import.meta.url))

/**
 * Every host file that goes into the bundle. Throws `failed_precondition/runtime_input_missing`, whose hint names the package
 * that brings the file.
 */
export async function findInputs(arch: RuntimeArch): Promise<InputFile[]> {
  if (arch !== process.arch || process.platform !== 'linux') {
    throw new CoppiceError(
      'unsupported',
      'foreign_architecture',
      `A runtime bundle for linux-${arch} can only be staged on such a machine; this one is ${process.platform}-${process.arch}.`,
      { facts: { arch, host: `${process.platform}-${process.arch}` }, hint: `Stage it on a linux-${arch} machine.` },
    )
  }
  const node = npmFile(`node-linux-${arch}`, 'bin/node')
  const inputs: InputFile[] = [
    { target: 'coppice-supervisor', source: node, executable: true },
    { target: 'init.sh', source: INIT_SCRIPT, executable: true },
  ]
  for (const program of PROGRAMS)
    inputs.push({ target: program.target, source: programFile(program), executable: true })
  const pty = await ptyFiles(arch)
  inputs.push(...pty)

  for (const target of ['busybox', 'tini']) await refuseDynamic(inputs, target)
  const dynamic = inputs.filter(
    (input) => ['coppice-supervisor', 'setpriv'].includes(input.target) || input.source.endsWith('.node'),
  )
  const libraries = await sharedLibraries(dynamic.map((input) => input.source))
  inputs.push({ target: 'ld.so', source: libraries.loader, executable: true })
  for (const [name, source] of libraries.libraries) inputs.push({ target: `lib/${name}`, source, executable: false })
  return inputs
}

function programFile(program: Program): string {
  const found = program.candidates.find((candidate) => existsSync(candidate))
  if (!found) throw missing(program.target, program.candidates, program.hint)
  return found
}

async function refuseDynamic(inputs: InputFile[], target: string): Promise<void> {
  const program = PROGRAMS.find((candidate) => candidate.target === target)
  const source = inputs.find((input) => input.target === target)?.source
  if (!program || !source) return
  const { libraries } = await sharedLibraries([source])
  if (libraries.size > 0) throw missing(`static ${target}`, [source], program.hint)
}

/** `@lydell/node-pty` and its prebuilt part, JavaScript and binaries only. */
async function ptyFiles(arch: RuntimeArch): Promise<InputFile[]> {
  const files: InputFile[] = []
  for (const name of ['@lydell/node-pty', `@lydell/node-pty-linux-${arch}`]) {
    const folder = dirname(npmFile(name, 'package.json'))
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile() || !/(\.js|\.node|^package\.json)$/.test(entry.name) || /windows|conpty/i.test(entry.name))
        continue
      const source = join(entry.parentPath, entry.name)
      files.push({ target: join('node_modules', name, source.slice(folder.length + 1)), source, executable: false })
    }
  }
  return files
}

/** A file of an npm package as this package would find it. */
function npmFile(name: string, file: string): string {
  const require = createRequire(import.meta.url)
  for (const folder of require.resolve.paths(name) ?? []) {
    const candidate = join(folder, name, file)
    if (existsSync(candidate)) return candidate
  }
  throw missing(`${name}/${file}`, [], `npm install --include=optional (it brings ${name})`)
}

function missing(what: string, looked: string[], hint: string): CoppiceError {
  return new CoppiceError(
    'failed_precondition',
    'runtime_input_missing',
    `The runtime bundle needs ${what}, which is not here.`,
    {
      facts: { what, looked },
      hint,
    },
  )
}
