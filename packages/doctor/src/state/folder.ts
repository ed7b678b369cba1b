import { access, constants, lstat, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Check, type CheckContext, type Finding, finding } from '../check.ts'
import { chmodFile } from '../chmod.ts'
import { isAbsent, quoted } from '../faults.ts'

/** The state folder and what in it holds secrets: who owns it, and who else can read it. */
export const stateFolderCheck: Check = {
  id: 'state/folder',
  async detect(ctx) {
    const { dir } = ctx.home
    const found = await lstat(dir).catch((error) => {
      if (isAbsent(error)) return undefined
      throw error
    })
    if (!found) {
      ctx.note(`There is no ${dir} yet: the first command that needs it makes it.`)
      return []
    }
    const folder = await stat(dir)
    if (!folder.isDirectory())
      return [finding('error', `${dir} is not a folder.`, `ls -ld ${quoted(dir)}`, { path: dir })]
    return [...ownership(ctx, folder), ...(await reach(ctx)), ...(await exposed(ctx))]
  },
  async repair({ home, effects }, findings) {
    for (const { path } of findings) {
      if (path === undefined) continue
      const folder = (await lstat(path)).isDirectory()
      const mode = path === home.dir ? 0o711 : folder ? 0o700 : 0o600
      await effects.run(`Set the mode of ${path} to ${mode.toString(8)}`, path, () => chmodFile(path, mode))
    }
    return effects.outcome
  },
}

function ownership({ home }: CheckContext, { uid, mode }: { uid: number; mode: number }): Finding[] {
  const { dir } = home
  const user = process.geteuid?.() ?? uid
  const findings: Finding[] = []
  if (uid !== user) {
    const message = `${dir} belongs to user ${uid}, and this is user ${user}: no gateway of this user can use it.`
    const hint = user === 0 ? `chown -R 0:0 ${quoted(dir)}` : `sudo ls -ld ${quoted(dir)}`
    findings.push(finding('error', message, hint, { path: dir }))
  }
  if ((mode & 0o022) !== 0) {
    const message = `${dir} can be written by other users (mode ${(mode & 0o777).toString(8)}).`
    findings.push(finding('error', message, `chmod 711 ${quoted(dir)}`, { path: dir, fixable: uid === user }))
  }
  return findings
}

/** A sandbox's root is an ordinary user for the host and must be able to walk to its files. */
async function reach({ home }: CheckContext): Promise<Finding[]> {
  const findings: Finding[] = []
  await access(home.dir, constants.R_OK | constants.W_OK | constants.X_OK).catch((error: Error) => {
    findings.push(
      finding('error', `${home.dir} cannot be used by this user: ${error.message}.`, `ls -ld ${quoted(home.dir)}`, {
        path: home.dir,
      }),
    )
  })
  if (process.geteuid?.() !== 0) return findings
  for (let folder = home.dir; folder !== '/'; folder = dirname(folder)) {
    if (((await stat(folder)).mode & 0o001) !== 0) continue
    const message = `Sandboxes cannot reach their files through ${folder}.`
    findings.push(
      finding('error', message, `chmod o+x ${quoted(folder)}`, { path: folder, fixable: folder === home.dir }),
    )
  }
  return findings
}

/** Tokens are in these. */
async function exposed({ home }: CheckContext): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const path of [home.token, home.registry, join(home.registry, 'sandboxes')]) {
    const found = await lstat(path).catch(() => undefined)
    if (!found || (found.mode & 0o077) === 0) continue
    const mode = found.isDirectory() ? '700' : '600'
    const message = `${path} is open to other users (mode ${(found.mode & 0o777).toString(8)}).`
    findings.push(finding('error', message, `chmod ${mode} ${quoted(path)}`, { path, fixable: true }))
  }
  return findings
}
