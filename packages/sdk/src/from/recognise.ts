import { type Stats, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { CoppiceError, type ImagePlace, parseImagePlace } from '@coppice/protocol/wire'

/** A local archive, or the folder of an OCI layout. */
export interface ArchivePlace {
  kind: 'file' | 'docker-archive' | 'oci-archive' | 'oci'
  path: string
  /** Which image, where there are several. */
  reference?: string | undefined
}

/** What a `from` text means. */
export type FromText =
  | { kind: 'dockerfile'; folder: string }
  | { kind: 'archive'; place: ArchivePlace }
  /** An image of the store, which a registry may have too. */
  | { kind: 'reference'; ref: string }
  /** An image that an engine has. */
  | { kind: 'engine'; source: string }

/**
 * What an image is to come from: a folder with a Dockerfile, a folder with an OCI layout, a file, else a reference of the
 * store. Transports (`oci-archive:FILE`, `docker-daemon:REF`) are read as everywhere.
 *
 * @throws `not_found/local_file_not_found` for a path that is not there, `invalid_argument/nothing_to_build` for a folder
 * that holds neither, `invalid_argument/invalid_image_place`
 */
export function recogniseFrom(text: string): FromText {
  const found = look(text)
  if (found?.isDirectory()) {
    if (look(join(text, 'Dockerfile'))?.isFile()) return { kind: 'dockerfile', folder: text }
    if (isLayout(text)) return { kind: 'archive', place: { kind: 'oci', path: text } }
    if (isPath(text)) throw nothingToBuild(text)
  } else if (found) {
    return { kind: 'archive', place: { kind: 'file', path: text } }
  }
  if (!/^(-$|[a-z-]+:)/.test(text) && !isPath(text)) return { kind: 'reference', ref: text }
  return ofPlace(text, parseImagePlace(text, { exists: (path) => look(path) !== undefined }))
}

/** True for a folder that holds an OCI layout. */
export function isLayout(folder: string): boolean {
  return look(join(folder, 'oci-layout'))?.isFile() === true
}

/** What an archive is called when nothing in it says so: `/tmp/My App.tar.gz` is `my-app`. */
export function nameOfFile(path: string): string | undefined {
  const name = basename(path)
    .replace(/(\.(tar|oci|tgz|tzst|tbz2|txz|gz|zst|xz|bz2))+$/i, '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9._-]+/g, '-')
    .replaceAll(/^[^a-z0-9]+|[^a-z0-9]+$/g, '')
    .slice(0, 255)
  return name === '' ? undefined : name
}

function ofPlace(text: string, place: ImagePlace): FromText {
  switch (place.kind) {
    case 'registry':
      return { kind: 'reference', ref: text }
    case 'docker-daemon':
    case 'podman':
      return { kind: 'engine', source: text }
    case 'docker-archive':
    case 'oci-archive':
    case 'oci':
      return { kind: 'archive', place }
    case 'file':
      throw new CoppiceError('not_found', 'local_file_not_found', `There is no ${text} here.`, {
        facts: { path: text },
        hint: 'coppice image ls',
      })
    default:
      throw new CoppiceError('unsupported', 'image_source', `Nothing is made from ${text}.`, {
        hint: `${place.kind === 'container' ? `docker export ${place.name} | ` : ''}coppice image import - --name NAME`,
      })
  }
}

function isPath(text: string): boolean {
  return /^(\.{0,2}\/|\.{1,2}$|~)/.test(text) || /\.(tar|tgz|tzst|tar\.(gz|zst|xz|bz2))$/i.test(text)
}

function look(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch {
    // Not to be looked at, or no path at all: it will be told when it is used.
    return undefined
  }
}

function nothingToBuild(folder: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    'nothing_to_build',
    `${folder} is a folder with neither a Dockerfile nor an oci-layout file.`,
    { facts: { folder }, hint: `coppice image build ${folder} --file PATH` },
  )
}
