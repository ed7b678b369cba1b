import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const CONTROL = `Package: coppice-hello
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.test>
Description: says hello
`

/** A repository with one package, `coppice-hello`, whose program of that name prints `hello from apt`. */
export function makeAptRepository(site: string, work: string): void {
  const tree = join(work, 'deb')
  mkdirSync(join(tree, 'DEBIAN'), { recursive: true })
  mkdirSync(join(tree, 'usr/bin'), { recursive: true })
  writeFileSync(join(tree, 'DEBIAN/control'), CONTROL)
  writeFileSync(join(tree, 'usr/bin/coppice-hello'), '#!/bin/sh\necho hello from apt\n')
  chmodSync(join(tree, 'usr/bin/coppice-hello'), 0o755)
  for (const folder of ['', 'DEBIAN', 'usr', 'usr/bin']) chmodSync(join(tree, folder), 0o755)
  mkdirSync(site, { recursive: true })
  const file = join(site, 'coppice-hello_1.0_all.deb')
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', tree, file], { stdio: 'pipe' })
  const packages = `${CONTROL}Filename: ./coppice-hello_1.0_all.deb\nSize: ${statSync(file).size}\nSHA256: ${sha256(file)}\n\n`
  writeFileSync(join(site, 'Packages'), packages)
  const index = join(site, 'Packages')
  const date = new Date().toUTCString()
  writeFileSync(
    join(site, 'Release'),
    `Origin: fake\nDate: ${date}\nSHA256:\n ${sha256(index)} ${statSync(index).size} Packages\n`,
  )
}

function sha256(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}
