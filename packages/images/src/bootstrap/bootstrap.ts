import { chmod, mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { openFiles } from '@coppice/limits'
import { CoppiceError, type ImageInfo, Progress } from '@coppice/protocol/wire'
import { storeFault } from '../faults.ts'
import { requirePrograms } from '../host/programs.ts'
import { runChecked } from '../host/run.ts'
import type { ImageStore } from '../image-store.ts'
import { Scratch } from '../store/scratch.ts'
import { BASE_CONFIG, customise } from './customise.ts'
import { debootstrap } from './debootstrap.ts'
import { percentOf } from './debootstrap-report.ts'
import { hostSuite } from './host-suite.ts'

/** The name of the image that bootstrap makes, and that sandboxes are made from when nothing else is said. */
export const BASE_IMAGE = 'base'

export interface BootstrapOptions {
  store: ImageStore
  /** Downloaded packages stay here for the next time; unfinished work is removed from it. */
  cacheDir: string
  /** Make it again when it is there. Default false. */
  force?: boolean
  /** Default: what the host itself is, if that is Debian or Ubuntu, else Debian bookworm. */
  suite?: string
  /** Default: where the host's apt gets that suite from, else the distribution's own address. */
  mirror?: string
}

/** Where the whole has got to, in percent, when debootstrap and set-up have ended. */
const INSTALLED = 88
const PACKED = 94

/**
 * Makes the image `base`: a small Debian with python3 (also as `python`), git, curl, ca-certificates and sudo, and a user
 * `user` (uid 1000) who may use sudo without a password. Needs root and the network. About 40 s on 2 cores. Events count
 * percent (`unit: 'items'`, `total: 100`). When the image is there already nothing happens, unless `force` is set.
 *
 * Errors: `failed_precondition/program_missing` (debootstrap), `permission_denied/root_needed`,
 * `unavailable/debootstrap_failed`, `resource_exhausted/disk_full`. Killed half-way it leaves no image.
 */
export async function bootstrap(options: BootstrapOptions, progress: Progress): Promise<ImageInfo> {
  if (options.force !== true) {
    const existing = (await options.store.list()).images.find((image) => image.name === BASE_IMAGE)
    if (existing) return existing
  }
  if (process.geteuid?.() !== 0) {
    throw new CoppiceError('permission_denied', 'root_needed', 'Only root can make the base image.', {
      hint: 'sudo coppice image bootstrap',
    })
  }
  await openFiles.admit()
  await requirePrograms('debootstrap', 'chroot', 'setpriv', 'tar', 'unshare')
  const suite = await hostSuite(options)
  const scratch = await Scratch.open(join(options.cacheDir, 'tmp'))
  const work = scratch.newPath()
  const root = join(work, 'root')
  const archive = join(work, 'base.tar')
  try {
    await mkdir(root, { recursive: true, mode: 0o700 })
    await chmod(root, 0o755)
    await debootstrap(root, suite, join(options.cacheDir, 'debs'), percentOf(progress, 0, INSTALLED), progress)
    await customise(root, suite, progress)
    percentOf(progress, INSTALLED, PACKED)('Packing the image', 0)
    await pack(root, archive, progress)
    const share = percentOf(progress, PACKED, 100)
    const storing = new Progress({
      signal: progress.signal,
      onEvent: ({ done = 0, total = 1 }) => share('Storing the image', total === 0 ? 0 : (100 * done) / total),
    })
    const source = `bootstrap ${suite.name}`
    return await options.store.import(archive, { name: BASE_IMAGE, config: BASE_CONFIG, source }, storing)
  } catch (error) {
    throw storeFault(error, options.cacheDir)
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/** Not packed with gzip: it is unpacked on this machine at once, and hashing is all that is left to do. */
async function pack(root: string, archive: string, progress: Progress): Promise<void> {
  const content = ['--exclude=./dev/*', '--exclude=./proc/*', '--exclude=./sys/*', '.']
  const exact = [
    '--numeric-owner',
    '--sort=name',
    '--acls',
    '--xattrs',
    '--xattrs-include=security.capability',
    '--sparse',
  ]
  await runChecked(['tar', '-c', '-f', archive, ...exact, '-C', root, ...content], {}, progress)
}
