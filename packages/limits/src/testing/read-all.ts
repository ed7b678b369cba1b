/**
 * Packs a folder of folders of files with a pool, all of them asked for at once, and by tar under the guard. Arguments: the
 * folder. Says as JSON how many files and bytes there were, and what happens without a pool.
 */
import { createHash } from 'node:crypto'
import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { FilePool } from '../file-pool.ts'
import { openFiles } from '../guard.ts'

/** What is said. */
export interface ReadAll {
  files: number
  bytes: number
  digest: string
  /** Bytes of the archive that tar made. */
  archive: number
  tarStatus: number
  withoutPool: string
}

const [folder = ''] = process.argv.slice(2)
const pool = new FilePool()
const paths: string[] = []
for (const name of (await readdir(folder)).sort()) {
  for (const file of (await readdir(join(folder, name))).sort()) paths.push(join(folder, name, file))
}

const said: ReadAll = { files: 0, bytes: 0, digest: '', archive: 0, tarStatus: -1, withoutPool: '' }
const hash = createHash('sha256')
const contents = await Promise.all(paths.map((path) => pool.use(path, 'r', (file) => file.readFile())))
for (const content of contents) {
  hash.update(content)
  said.files++
  said.bytes += content.length
}
said.digest = hash.digest('hex')

const tar = await openFiles.spawn(['tar', '-c', '-f', '-', '-C', folder, '.'], { stdio: ['ignore', 'pipe', 'inherit'] })
const ended = new Promise<number>((resolve) => tar.once('close', (code) => resolve(code ?? -1)))
for await (const chunk of tar.stdout ?? []) said.archive += (chunk as Buffer).length
said.tarStatus = await ended

const attempts = await Promise.allSettled(paths.slice(0, 1000).map((path) => open(path, 'r')))
for (const attempt of attempts) {
  if (attempt.status === 'fulfilled') await attempt.value.close()
  else said.withoutPool = (attempt.reason as NodeJS.ErrnoException).code ?? ''
}
process.stdout.write(JSON.stringify(said))
