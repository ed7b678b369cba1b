import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync } from 'node:fs'
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rename, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { BASE_IMAGE, bootstrap, ImageStore } from '@coppice/images'
import { type ImageConfig, Progress } from '@coppice/protocol'
import type { Coppice } from '@coppice/sdk'
import { ROOT } from './gateway-process.ts'

/** The name that `importTools` gives it. */
export const TOOLS_IMAGE = 'tools'

/** Beside what the base image has (python3, git, curl, openssl). */
const PACKAGES = ['python3-pip', 'python3-venv', 'wget', 'netcat-openbsd']

const NPM = {
  version: '11.6.2',
  integrity: 'sha512-7iKzNfy8lWYs3zq4oFPa8EXZz5xt9gQNKJZau3B1ErLBb6bF7sBJ00x09485DOvRT2l5Gerbl3VlZNT57MxJVA==',
}

/**
 * $1: layer of the base image, $2: archive to write, $3…: packages. In the current folder: `npm`, and `node`. Mounts are of a
 * namespace of their own and gone with it.
 */
const SCRIPT = `
layer=$1 archive=$2; shift 2
mkdir upper work merged
mount -t overlay overlay -o "lowerdir=$layer,upperdir=upper,workdir=work" merged
mount --rbind /dev merged/dev
mount -t proc proc merged/proc
cp -L /etc/resolv.conf merged/etc/resolv.conf
inside() { chroot merged env DEBIAN_FRONTEND=noninteractive "$@"; }
inside apt-get -qq update
inside apt-get -qq install -y --no-install-recommends "$@"
inside apt-get clean
rm -rf merged/var/lib/apt/lists/*
: > merged/etc/resolv.conf
mkdir -p merged/usr/local/lib/node_modules
cp -r npm merged/usr/local/lib/node_modules/npm
cp node merged/usr/local/bin/node
ln -s ../lib/node_modules/npm/bin/npm-cli.js merged/usr/local/bin/npm
umount -l merged/dev merged/proc
tar -c -f "$archive" --numeric-owner --xattrs --xattrs-include=security.capability --sort=name -C merged .
`

/**
 * The archive of an image with the tools that agents fetch things with: apt, curl, wget, git, python3 with pip and venv, node
 * and npm. Made once for each recipe, in about two minutes, and kept in `$COPPICE_TEST_CACHE` (else `~/.cache/coppice-test`).
 * Needs root, `debootstrap`, and the network.
 */
export async function toolsArchive(): Promise<string> {
  const cache =
    process.env.COPPICE_TEST_CACHE ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'coppice-test')
  const file = join(cache, `tools-${await recipe()}.tar`)
  if (existsSync(file)) return file
  await mkdir(cache, { recursive: true })
  const work = await mkdtemp(join(cache, 'making-'))
  try {
    await chmod(work, 0o755)
    await make(work, join(cache, 'bootstrap'))
    for (const name of await readdir(cache)) if (name.startsWith('tools-')) await rm(join(cache, name))
    await rename(join(work, 'tools.tar'), file)
    return file
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Brings the image into a gateway's store. */
export async function importTools(client: Coppice): Promise<void> {
  await client.images.import(createReadStream(await toolsArchive()), { name: TOOLS_IMAGE })
}

async function make(work: string, cacheDir: string): Promise<void> {
  const none = Progress.none()
  const store = await ImageStore.open(join(work, 'store'))
  const { config } = await bootstrap({ store, cacheDir }, none)
  const [layer = ''] = await store.unpack(await store.resolve(BASE_IMAGE), { uidBase: 0 }, none)
  await fetchNpm(work)
  await copyFile(process.execPath, join(work, 'node'))
  const archive = join(work, 'root.tar')
  const namespaces = ['--mount', '--propagation=private', '--pid', '--fork', '--kill-child', '--']
  const shell = ['sh', '-euc', SCRIPT, 'sh', layer, archive, ...PACKAGES]
  execFileSync('unshare', [...namespaces, ...shell], { cwd: work, stdio: ['ignore', 'pipe', 'pipe'] })
  await store.import(archive, { name: TOOLS_IMAGE, config: config as ImageConfig }, none)
  await store.export(TOOLS_IMAGE, join(work, 'tools.tar'), none)
}

async function fetchNpm(work: string): Promise<void> {
  const archive = `npm-${NPM.version}.tgz`
  execFileSync('npm', ['pack', '--silent', `npm@${NPM.version}`], { cwd: work, stdio: ['ignore', 'pipe', 'pipe'] })
  const digest = createHash('sha512')
    .update(await readFile(join(work, archive)))
    .digest('base64')
  if (`sha512-${digest}` !== NPM.integrity) throw new Error(`${archive} is not what was expected`)
  await mkdir(join(work, 'npm'))
  execFileSync('tar', ['-xzf', archive, '--strip-components=1', '--no-same-owner', '-C', 'npm'], { cwd: work })
}

/** Of everything that decides what is in the image. */
async function recipe(): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify([SCRIPT, PACKAGES, NPM, process.version, process.arch]))
  hash.update(await readFile('/etc/os-release'))
  const folder = join(ROOT, 'packages/images/src/bootstrap')
  for (const name of (await readdir(folder)).sort())
    if (!name.includes('.test.')) hash.update(await readFile(join(folder, name)))
  return hash.digest('hex').slice(0, 16)
}
