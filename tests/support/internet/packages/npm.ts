import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const MANIFEST = { name: 'coppice-hello', version: '1.0.0', main: 'index.js' }

/** A registry with one package, `coppice-hello`: `require('coppice-hello')` is `hello from npm`. `url`: where it is reached. */
export function makeNpmRegistry(site: string, work: string, url: string): void {
  const tree = join(work, 'npm')
  mkdirSync(join(tree, 'package'), { recursive: true })
  writeFileSync(join(tree, 'package/package.json'), JSON.stringify(MANIFEST))
  writeFileSync(join(tree, 'package/index.js'), "module.exports = 'hello from npm'\n")
  mkdirSync(join(site, 'coppice-hello/-'), { recursive: true })
  const file = join(site, 'coppice-hello/-/coppice-hello-1.0.0.tgz')
  execFileSync('tar', ['-czf', file, '--owner=0', '--group=0', '--numeric-owner', '-C', tree, 'package'])
  const integrity = `sha512-${createHash('sha512').update(readFileSync(file)).digest('base64')}`
  const dist = { tarball: `${url}/coppice-hello/-/coppice-hello-1.0.0.tgz`, integrity }
  const versions = { '1.0.0': { ...MANIFEST, dist } }
  const document = { name: MANIFEST.name, 'dist-tags': { latest: '1.0.0' }, versions }
  writeFileSync(join(site, 'coppice-hello/index.json'), JSON.stringify(document))
}
