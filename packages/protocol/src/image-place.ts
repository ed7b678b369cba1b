import { CoppiceError } from './errors.ts'

/** An image in a registry, as the distribution API needs it. */
export interface RegistryReference {
  /** `host` or `host:port`, as it is called: `docker.io`, `localhost:5000`. */
  host: string
  /** The repository: `library/alpine`. */
  repository: string
  /** `latest` when the text had neither tag nor digest; undefined when it had only a digest. */
  tag: string | undefined
  /** `sha256:…`; where there is a tag too, the digest decides. */
  digest: string | undefined
}

/** Where an image comes from or goes to. Paths are as they were typed. */
export type ImagePlace =
  | { kind: 'registry'; reference: RegistryReference }
  /** An image that a local engine has, by the engine's own name for it. */
  | { kind: 'docker-daemon' | 'podman'; reference: string }
  | { kind: 'docker-archive' | 'oci-archive' | 'oci'; path: string; reference: string | undefined }
  /** A file or folder that is recognised by its content. */
  | { kind: 'file'; path: string }
  /** Standard input or output. */
  | { kind: 'stdio' }
  /** A running container's file system. */
  | { kind: 'container'; name: string; folder: string | undefined }

export interface ParsePlaceOptions {
  /** Says whether a path is there. A plain text that names an existing file means the file. Default: nothing is there. */
  exists?: (path: string) => boolean
}

/** Transports of skopeo that are understood and not served. */
const UNSERVED = ['containers-storage', 'dir', 'ostree', 'sif', 'tarball', 'docker-tar']

/**
 * Reads a place as `skopeo` writes it: `docker-daemon:REF`, `podman:REF`, `docker-archive:FILE[:REF]`, `oci:DIR[:REF]`,
 * `oci-archive:FILE[:REF]`, `container:NAME[:/DIR]`, `-`, and without a transport a file or a registry reference
 * (`docker://` in front says registry). A plain text is a file when it looks like a path (`/…`, `./…`, `../…`, `~…`, or an
 * archive's ending) or is there, and a registry reference otherwise.
 *
 * Errors: `invalid_argument/invalid_image_place`, `invalid_argument/invalid_image_reference`, `unsupported/image_transport`.
 */
export function parseImagePlace(text: string, options: ParsePlaceOptions = {}): ImagePlace {
  const exists = options.exists ?? (() => false)
  if (text === '') throw badPlace(text, 'It is empty.')
  if (text.includes('\0')) throw badPlace(text, 'It holds a NUL.')
  if (text === '-') return { kind: 'stdio' }
  const colon = text.indexOf(':')
  const rest = text.slice(colon + 1)
  switch (colon === -1 ? '' : text.slice(0, colon)) {
    case 'docker':
      if (rest.startsWith('//')) return { kind: 'registry', reference: parseRegistryReference(rest.slice(2)) }
      break
    case 'docker-daemon':
    case 'podman':
      if (rest === '') throw badPlace(text, 'The name of an image is missing.')
      return { kind: text.slice(0, colon) as 'docker-daemon' | 'podman', reference: rest }
    case 'docker-archive':
    case 'oci-archive':
    case 'oci':
      return { kind: text.slice(0, colon) as 'oci', ...splitReference(text, rest, exists) }
    case 'container':
      return parseContainer(text, rest)
    default:
      if (UNSERVED.includes(text.slice(0, Math.max(colon, 0))) && !exists(text)) throw unserved(text, colon)
  }
  if (looksLikePath(text) || exists(text)) return { kind: 'file', path: text }
  if (/^[a-z][a-z0-9+.-]*:\/\//.test(text)) {
    throw badPlace(text, 'Images are not read from URLs; a registry reference has no scheme.')
  }
  return { kind: 'registry', reference: parseRegistryReference(text) }
}

/** The place as `parseImagePlace` reads it. Registry references are written in full. */
export function formatImagePlace(place: ImagePlace): string {
  switch (place.kind) {
    case 'registry':
      return formatRegistryReference(place.reference)
    case 'docker-daemon':
    case 'podman':
      return `${place.kind}:${place.reference}`
    case 'docker-archive':
    case 'oci-archive':
    case 'oci':
      return `${place.kind}:${place.path}${place.reference === undefined ? '' : `:${place.reference}`}`
    case 'file':
      return place.path
    case 'stdio':
      return '-'
    case 'container':
      return `container:${place.name}${place.folder === undefined ? '' : `:${place.folder}`}`
  }
}

/** The registry that names without a host mean, and the folder of it that names without a `/` mean. */
const DEFAULT_HOST = 'docker.io'
const DEFAULT_FOLDER = 'library'

const HOST =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?$/
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/
const DIGEST = /^sha256:[0-9a-f]{64}$/
/** As the distribution project has it: host and repository together. */
const MAX_NAME = 255

/**
 * `[host[:port]/]name[:tag][@sha256:…]`. The first part is a host when it has a dot or a port or is `localhost`; else the
 * host is `docker.io`, and a name of one part is one of its `library/`. Throws `invalid_argument/invalid_image_reference`.
 */
export function parseRegistryReference(text: string): RegistryReference {
  const at = text.indexOf('@')
  const digest = at === -1 ? undefined : text.slice(at + 1)
  const named = at === -1 ? text : text.slice(0, at)
  const tagColon = named.lastIndexOf(':')
  const hasTag = tagColon > named.lastIndexOf('/')
  const tag = hasTag ? named.slice(tagColon + 1) : undefined
  const { host, repository } = splitHost(hasTag ? named.slice(0, tagColon) : named)
  if (digest !== undefined && !DIGEST.test(digest))
    throw badReference(text, 'its digest is not sha256: and 64 hex digits')
  if (tag !== undefined && !TAG.test(tag)) throw badReference(text, `"${tag}" cannot be a tag`)
  if (!HOST.test(host)) throw badReference(text, `"${host}" cannot be a host`)
  if (!repository.split('/').every((part) => COMPONENT.test(part))) {
    throw badReference(text, 'a repository has lower case letters, digits and . _ - between slashes')
  }
  if (host.length + repository.length + 1 > MAX_NAME) throw badReference(text, 'it is too long')
  return { host, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest }
}

/** In full: `docker.io/library/alpine:latest`. */
export function formatRegistryReference(reference: RegistryReference): string {
  const { host, repository, tag, digest } = reference
  return `${host}/${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/** As people type it: without `docker.io/` and `library/`. */
export function familiarName(reference: RegistryReference): string {
  const full = formatRegistryReference(reference)
  if (reference.host !== DEFAULT_HOST) return full
  const short = full.slice(DEFAULT_HOST.length + 1)
  return reference.repository.split('/').length === 2 && short.startsWith(`${DEFAULT_FOLDER}/`)
    ? short.slice(DEFAULT_FOLDER.length + 1)
    : short
}

function splitHost(name: string): { host: string; repository: string } {
  const slash = name.indexOf('/')
  const first = slash === -1 ? '' : name.slice(0, slash)
  if (slash !== -1 && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase())) {
    const host = first === 'index.docker.io' || first === 'registry-1.docker.io' ? DEFAULT_HOST : first
    const repository = name.slice(slash + 1)
    return host === DEFAULT_HOST && !repository.includes('/')
      ? { host, repository: `${DEFAULT_FOLDER}/${repository}` }
      : { host, repository }
  }
  return { host: DEFAULT_HOST, repository: slash === -1 ? `${DEFAULT_FOLDER}/${name}` : name }
}

/** `FILE:REF`, unless there is a file of the whole name. Like skopeo's, a path that is not there cannot hold a colon. */
function splitReference(
  text: string,
  rest: string,
  exists: (path: string) => boolean,
): { path: string; reference: string | undefined } {
  const colon = rest.indexOf(':')
  const whole = colon === -1 || exists(rest)
  const path = whole ? rest : rest.slice(0, colon)
  if (path === '') throw badPlace(text, 'The path is missing.')
  const reference = whole ? '' : rest.slice(colon + 1)
  return { path, reference: reference === '' ? undefined : reference }
}

function parseContainer(text: string, rest: string): ImagePlace {
  const colon = rest.indexOf(':')
  const name = colon === -1 ? rest : rest.slice(0, colon)
  const folder = colon === -1 ? undefined : rest.slice(colon + 1)
  if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(name)) throw badPlace(text, 'The name of a container is missing.')
  if (folder !== undefined && !folder.startsWith('/')) {
    throw badPlace(text, 'The folder in a container is an absolute path.')
  }
  return { kind: 'container', name, folder }
}

function looksLikePath(text: string): boolean {
  return (
    /^(\.{0,2}\/|~)/.test(text) || text === '.' || text === '..' || /\.(tar|tgz|tzst|tar\.(gz|zst|xz|bz2))$/i.test(text)
  )
}

function badPlace(text: string, why: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    'invalid_image_place',
    `"${clipped(text)}" is no place of an image. ${why}`,
  )
}

function badReference(text: string, why: string): CoppiceError {
  return new CoppiceError(
    'invalid_argument',
    'invalid_image_reference',
    `"${clipped(text)}" is no image reference: ${why}.`,
    { hint: 'Write host:port/name:tag, for example ghcr.io/owner/app:1, or ./FILE for a file.' },
  )
}

function unserved(text: string, colon: number): CoppiceError {
  const transport = text.slice(0, colon)
  return new CoppiceError('unsupported', 'image_transport', `Images are not read from or written to "${transport}:".`, {
    facts: { transport },
    hint: `skopeo copy ${clipped(text)} oci-archive:image.tar`,
  })
}

function clipped(text: string): string {
  return (text.length > 200 ? `${text.slice(0, 200)}…` : text).replaceAll(/\p{Cc}/gu, '?')
}
