import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const WHEEL = 'coppice_hello-1.0-py3-none-any.whl'
const INFO = 'coppice_hello-1.0.dist-info'
const FILES: Record<string, string> = {
  'coppice_hello.py': "def hello():\n    return 'hello from pip'\n",
  [`${INFO}/METADATA`]: 'Metadata-Version: 2.1\nName: coppice-hello\nVersion: 1.0\n',
  [`${INFO}/WHEEL`]: 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n',
}
const ZIP = `
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as archive:
    for name in sys.argv[2:]: archive.write(name)
`

/** A simple index with one wheel, `coppice-hello`: `coppice_hello.hello()` is `hello from pip`. */
export function makePipIndex(site: string, work: string): void {
  const tree = join(work, 'wheel')
  const record = Object.entries(FILES).map(([name, text]) => {
    const digest = createHash('sha256').update(text).digest('base64url')
    return `${name},sha256=${digest},${Buffer.byteLength(text)}\n`
  })
  const files = { ...FILES, [`${INFO}/RECORD`]: `${record.join('')}${INFO}/RECORD,,\n` }
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(tree, name)), { recursive: true })
    writeFileSync(join(tree, name), text)
  }
  mkdirSync(join(site, 'simple/coppice-hello'), { recursive: true })
  mkdirSync(join(site, 'files'))
  const wheel = join(site, 'files', WHEEL)
  execFileSync('python3', ['-c', ZIP, wheel, ...Object.keys(files)], { cwd: tree, stdio: 'pipe' })
  const digest = createHash('sha256').update(readFileSync(wheel)).digest('hex')
  const link = `<a href="../../files/${WHEEL}#sha256=${digest}">${WHEEL}</a>`
  writeFileSync(join(site, 'simple/coppice-hello/index.html'), `<!DOCTYPE html><html><body>${link}</body></html>\n`)
}
