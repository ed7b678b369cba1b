import { chmodSync, chownSync, mkdirSync, rmSync, statSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { runCommand } from '../host/command.ts'

/** The kernel stacks no more. */
const MAX_LAYERS = 500

/** Folders of one sandbox's root file system, under its own folder. */
export interface OverlayFolders {
  /** What the sandbox has written. */
  upper: string
  /** The kernel's own. */
  work: string
  /** The root file system as the sandbox sees it. */
  merged: string
  /** Links with short names to the layers. */
  links: string
}

export function overlayFolders(folder: string): OverlayFolders {
  return {
    upper: join(folder, 'upper'),
    work: join(folder, 'work'),
    merged: join(folder, 'merged'),
    links: join(folder, 'layers'),
  }
}

/** Makes the folders of a new sandbox. Its root gets the mode that the image's root has. */
export function makeOverlayFolders(folders: OverlayFolders, layers: string[], owner: number): void {
  for (const path of [folders.upper, folders.work, folders.merged]) mkdirSync(path, { mode: 0o700 })
  const top = layers.at(-1)
  chmodSync(folders.upper, top === undefined ? 0o755 : statSync(top).mode & 0o7777)
  chownSync(folders.upper, owner, owner)
}

/**
 * Mounts the layers (lowest first) with the sandbox's own on top. All mount options must fit into one page: layers are named by
 * links of one to three characters, relative to the folder that they are in. Throws `unavailable/overlay_failed`,
 * `not_found/layer_missing`, `invalid_argument/too_many_layers`.
 */
export async function mountOverlay(folders: OverlayFolders, layers: string[], progress: Progress): Promise<void> {
  if (layers.length === 0 || layers.length > MAX_LAYERS) {
    throw new CoppiceError(
      'invalid_argument',
      'bad_layer_count',
      `An image needs 1 to ${MAX_LAYERS} layers, this one has ${layers.length}.`,
    )
  }
  rmSync(folders.links, { recursive: true, force: true })
  mkdirSync(folders.links, { mode: 0o700 })
  const names = layers.map((layer, index) => {
    if (!statSync(layer, { throwIfNoEntry: false })?.isDirectory()) {
      throw new CoppiceError('not_found', 'layer_missing', `The unpacked layer ${layer} is not there.`, {
        facts: { layer },
      })
    }
    const name = index.toString(36)
    symlinkSync(layer, join(folders.links, name))
    return name
  })
  const { exitCode, text } = await runCommand(
    'mount',
    ['-t', 'overlay', '-o', overlayOptions(names), 'overlay', folders.merged],
    {
      cwd: folders.links,
      // libmount's newer way passes options one by one and cuts each at 256 bytes.
      env: { LIBMOUNT_FORCE_MOUNT2: 'always' },
      progress,
    },
  )
  if (exitCode === 0) return
  throw new CoppiceError('unavailable', 'overlay_failed', `The root file system could not be mounted: ${text.trim()}`, {
    retryable: false,
    facts: { layers: layers.length, merged: folders.merged },
    hint: 'dmesg | tail',
  })
}

/** Mount options for layers named lowest first, as seen from the folder of links. */
export function overlayOptions(names: string[]): string {
  return `lowerdir=${[...names].reverse().join(':')},upperdir=../upper,workdir=../work,index=off,redirect_dir=off,metacopy=off`
}
