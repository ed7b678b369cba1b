import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'

const FOLDERS = 200
const FILES_PER_FOLDER = 1000
/** Of a child: soft and hard, as Node lifts its soft limit to the hard one when it starts. */
const OPEN_FILES = 256

let folder: string
beforeAll(() => {
  // A tmpfs: inodes are cheap there.
  folder = mkdtempSync('/dev/shm/coppice-context-')
  writeFileSync(join(folder, 'Dockerfile'), 'FROM scratch')
  for (let at = 0; at < FOLDERS; at += 1) {
    mkdirSync(join(folder, `d${at}`))
    for (let file = 0; file < FILES_PER_FOLDER; file += 1) writeFileSync(join(folder, `d${at}/f${file}`), `${file}`)
  }
})
afterAll(() => rmSync(folder, { recursive: true }))

const COUNT = `
import { readFileSync } from 'node:fs'
import { packContext } from ${JSON.stringify(join(import.meta.dirname, 'context.ts'))}
import { readTar } from ${JSON.stringify(join(import.meta.dirname, '../tar/read.ts'))}
let files = 0
for await (const { type } of readTar(packContext(process.argv[1]))) if (type === '0') files += 1
const [, limit] = /^Max open files +(\\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))
console.log(JSON.stringify({ files, limit: Number(limit)}))
`

test('a context of 200,000 files is packed with 256 open files', async () => {
  const limit = `--nofile=${OPEN_FILES}:${OPEN_FILES}`
  const child = spawn('prlimit', [limit, process.execPath, '--input-type=module', '-e', COUNT, folder], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let said = ''
  child.stdout.on('data', (chunk) => {
    said += chunk
  })
  const [code] = await once(child, 'close')
  expect(code).toBe(0)
  const { files, limit: seen } = JSON.parse(said)
  expect({ files, seen }).toEqual({ files: FOLDERS * FILES_PER_FOLDER + 1, seen: OPEN_FILES })
})
