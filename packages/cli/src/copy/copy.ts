import { stat } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import { CoppiceError, type Sandbox } from '@coppice/sdk'
import type { Cli } from '../cli.ts'
import { usageError } from '../parse.ts'
import { inside, type Place } from './place.ts'

type Kind = 'file' | 'directory' | 'missing'
type InSandbox = Extract<Place, { kind: 'sandbox' }>

/** Copies between this machine and a sandbox, or between two sandboxes, as `cp -r` would. */
export async function copy(cli: Cli, source: Place, target: Place): Promise<void> {
  if (source.kind === 'sandbox') {
    const from = await cli.sandbox(source.sandbox)
    if (target.kind === 'stream')
      await pipeline(await from.files.readArchive(source.path), process.stdout, { end: false })
    else if (target.kind === 'local') await down(from, source.path, target.path)
    else await across(from, source.path, await cli.sandbox(target.sandbox), target)
    return
  }
  if (target.kind !== 'sandbox') throw usageError('One side must be in a sandbox.', 'Write it like SANDBOX:/path')
  const to = await cli.sandbox(target.sandbox)
  if (source.kind === 'stream') await to.files.writeArchive(target.path, process.stdin)
  else await up(source.path, to, target)
}

async function up(source: string, to: Sandbox, target: InSandbox): Promise<void> {
  const kind = await localKind(source)
  if (kind === 'missing') throw new CoppiceError('not_found', 'local_file_not_found', `There is no ${source} here.`)
  await to.files.upload(source, place(kind, source, await remoteKind(to, target.path), target.path))
}

async function down(from: Sandbox, source: string, target: string): Promise<void> {
  const kind = (await from.files.stat(source)).type === 'directory' ? 'directory' : 'file'
  await from.files.download(source, place(kind, source, await localKind(target), target))
}

/** Nothing is kept here on the way. */
async function across(from: Sandbox, source: string, to: Sandbox, target: InSandbox): Promise<void> {
  const stat = await from.files.stat(source)
  const kind = stat.type === 'directory' ? 'directory' : 'file'
  const path = place(kind, source, await remoteKind(to, target.path), target.path)
  if (kind === 'file') {
    await to.files.write(path, from.files.readStream(source), { size: stat.size, mode: stat.mode & 0o777 })
    return
  }
  await to.files.mkdir(path)
  await to.files.writeArchive(path, await from.files.readArchive(source))
}

/** The exact path that is written. @throws `conflict/in_the_way` for a folder onto a file. */
function place(kind: Kind, source: string, targetKind: Kind, target: string): string {
  if (targetKind === 'directory') return inside(target, source)
  if (kind === 'directory' && targetKind === 'file') {
    throw new CoppiceError('conflict', 'in_the_way', `${target} is a file; a folder cannot take its place.`)
  }
  if (kind === 'file' && target.endsWith('/')) {
    throw new CoppiceError('not_found', 'folder_not_found', `There is no folder ${target}.`)
  }
  return target
}

async function localKind(path: string): Promise<Kind> {
  try {
    return (await stat(path)).isDirectory() ? 'directory' : 'file'
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'missing'
    throw new CoppiceError('permission_denied', 'local_file_denied', `${path} cannot be looked at: ${code}.`, {
      cause: error,
    })
  }
}

async function remoteKind(sandbox: Sandbox, path: string): Promise<Kind> {
  try {
    return (await sandbox.files.stat(path)).type === 'directory' ? 'directory' : 'file'
  } catch (error) {
    const missing = error instanceof CoppiceError && error.code === 'not_found' && error.reason !== 'sandbox_not_found'
    if (missing) return 'missing'
    throw error
  }
}
