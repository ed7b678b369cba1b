import { execFile } from 'node:child_process'
import { chmod, copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

const FOLDERS = ['bin', 'dev', 'etc', 'home/user', 'proc', 'root', 'run', 'sys', 'tmp', 'usr/bin', 'var']

const FILES = {
  'etc/passwd':
    'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n',
  'etc/group': 'root:x:0:\nextra:x:2000:user\nuser:x:1000:\nnogroup:x:65534:\n',
}

/**
 * Writes a root file system archive that holds nothing but the host's static busybox, a link for each of its programs,
 * `/etc/passwd` and `/etc/group` (root, user 1000 with the further group `extra` 2000, nobody), and the usual empty folders.
 * Returns `file`. The same busybox always gives the same bytes.
 */
export async function makeBusyboxArchive(file: string, busybox = '/bin/busybox'): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'coppice-busybox-'))
  try {
    await writeBusyboxRootfs(dir, busybox)
    const owner = ['--numeric-owner', '--owner=0', '--group=0', '--mtime=@0', '--sort=name']
    const user = ['--transform=s,^\\./,,', '-C', dir]
    await execute('tar', ['-cf', file, ...owner, ...user, '--exclude=./home/user', '.'])
    await execute('tar', [
      '-rf',
      file,
      '--numeric-owner',
      '--owner=1000',
      '--group=1000',
      '--mtime=@0',
      '-C',
      dir,
      'home/user',
    ])
    return file
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** The same as a folder, for whoever needs no archive. */
export async function writeBusyboxRootfs(dir: string, busybox = '/bin/busybox'): Promise<void> {
  for (const folder of FOLDERS) await mkdir(join(dir, folder), { recursive: true, mode: 0o755 })
  // Whatever the umask and the maker of `dir` think: a root folder of 0700 would lock everybody but root out.
  for (const folder of ['', ...FOLDERS]) await chmod(join(dir, folder), folder === 'tmp' ? 0o1777 : 0o755)
  for (const [name, text] of Object.entries(FILES)) await writeFile(join(dir, name), text, { mode: 0o644 })
  await copyFile(busybox, join(dir, 'bin/busybox'))
  await chmod(join(dir, 'bin/busybox'), 0o755)
  const { stdout } = await execute(busybox, ['--list'])
  const programs = stdout.split('\n').filter((name) => name !== '' && name !== 'busybox')
  await Promise.all(programs.map((name) => symlink('busybox', join(dir, 'bin', name))))
}
