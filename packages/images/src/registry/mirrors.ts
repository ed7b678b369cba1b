import { CoppiceError, type RegistryReference } from '@coppice/protocol/wire'

/** Another place that has a registry's images. */
export interface Mirror {
  /** `host` or `host:port`, lower case. */
  host: string
  /** Stands before every repository there; empty: nothing does. */
  prefix: string
  /** Plain HTTP, because its address says so. */
  plain: boolean
}

const ADDRESS = /^(?:(https?):\/\/)?([^/\s?#@]+)(\/[^\s?#@]*)?$/i
const HOST = /^([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(:[0-9]{1,5})?$/
const PREFIX = /^[a-z0-9]+([._-]+[a-z0-9]+)*(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/

/**
 * `[https://|http://]host[:port][/prefix]`, as Docker's `registry-mirrors` and the locations of containers' `registries.conf` are
 * written: with a prefix, `alpine` of Docker Hub is `prefix/library/alpine` there. Without `http://` it is encrypted.
 *
 * @throws `invalid_argument/bad_mirror`
 */
export function parseMirror(text: string): Mirror {
  const [, scheme, host = '', path = ''] = ADDRESS.exec(text) ?? []
  const prefix = path.replace(/^\/+|\/+$/g, '')
  if (!HOST.test(host.toLowerCase()) || (prefix !== '' && !PREFIX.test(prefix))) {
    throw badMirror(text, 'it is not https://host[:port][/prefix], with names and passwords left to `docker login`')
  }
  if (/^v2(\/|$)/.test(prefix)) throw badMirror(text, '/v2 is put before the path by itself: leave it away')
  return { host: host.toLowerCase(), prefix, plain: scheme?.toLowerCase() === 'http' }
}

/** The host of a registry in the configuration, as references have it. @throws `invalid_argument/bad_mirror` */
export function parseRegistryHost(text: string): string {
  const host = text.toLowerCase()
  if (!HOST.test(host)) throw badMirror(text, 'it is not the host[:port] of a registry')
  return /^(index|registry-1)\.docker\.io$/.test(host) ? 'docker.io' : host
}

/** Where an image is, at a mirror. */
export function mirrored(reference: RegistryReference, mirror: Mirror): RegistryReference {
  const repository = mirror.prefix === '' ? reference.repository : `${mirror.prefix}/${reference.repository}`
  return { ...reference, host: mirror.host, repository }
}

/** The mirrors of a registry, in the order in which they are asked. */
export function mirrorsOf(host: string, all: Readonly<Record<string, readonly string[]>>): Mirror[] {
  return Object.entries(all)
    .filter(([registry]) => parseRegistryHost(registry) === host.toLowerCase())
    .flatMap(([, addresses]) => addresses.map(parseMirror))
}

function badMirror(text: string, why: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_mirror', `"${text.slice(0, 200)}" cannot be used: ${why}.`, {
    hint: '{"registries": {"mirrors": {"docker.io": ["https://mirror.example:5000"]}}}',
  })
}
