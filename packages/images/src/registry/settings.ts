import { CoppiceError, type Progress, type RegistryReference, transferStallMs } from '@coppice/protocol/wire'
import { certificateFolders, findCertificates, type HostCertificates } from './certificates.ts'
import { type Credentials, findCredentials } from './credentials.ts'
import { type Mirror, mirrored, mirrorsOf } from './mirrors.ts'

/** A mirror is passed over when it has not said hello by then, milliseconds, or after so many attempts: there are others to ask. */
const MIRROR_HELLO_MS = 10_000
const MIRROR_ATTEMPTS = 2

/** How registries are talked to; every field has a default. */
export interface RegistryOptions {
  /**
   * `host` or `host:port` of registries that are asked without checking their certificate, and over plain HTTP where they
   * do not speak TLS. Hosts of this machine (`localhost`, 127.0.0.0/8, `::1`) always are.
   */
  insecureRegistries?: string[]
  /**
   * Where the images of a registry are looked for before the registry itself is asked, by its host: `{"docker.io":
   * ["https://mirror.example:5000/prefix"]}`, see `parseMirror`.
   */
  mirrors?: Record<string, string[]>
  /** Folders with certificates, see `findCertificates`. Default: Docker's and containers' `certs.d`. */
  certificateFolders?: string[]
  /** Who asks. Default: what Docker's configuration and its credential helpers know of the registry. */
  credentials?: Credentials | 'anonymous'
  /** Docker's configuration folder. Default `$DOCKER_CONFIG`, else `~/.docker`. */
  dockerConfig?: string
  /** Blobs that are moved at the same time. Default 3, as Docker has it. */
  parallel?: number
  /** Attempts without a byte of progress, and milliseconds before the second one; doubled each time. Default 6 and 500. */
  attempts?: number
  retryMs?: number
  /** Milliseconds without a byte after which a connection is given up. Default `COPPICE_TRANSFER_STALL_SECS`, 120 s. */
  stallMs?: number
  /** Bytes of one upload request. Default: a blob at once, and 32 MiB where the registry refuses that as too large. */
  uploadChunkBytes?: number
}

/** The same for one registry or mirror, complete, and ready for another thread. */
export interface RegistrySettings {
  reference: RegistryReference
  credentials: Credentials | undefined
  insecure: boolean
  /** Plain HTTP and nothing else. */
  plain: boolean
  certificates: HostCertificates | undefined
  /** Milliseconds in which it has to answer for the first time. Default: as long as a connection may stand still. */
  helloMs: number | undefined
  parallel: number
  attempts: number
  retryMs: number
  stallMs: number
  uploadChunkBytes: number | undefined
}

/** Completes the options; asks credential helpers. */
export async function registrySettings(
  reference: RegistryReference,
  options: RegistryOptions,
  signal: AbortSignal,
): Promise<RegistrySettings> {
  const { credentials } = options
  return {
    reference,
    credentials:
      credentials === 'anonymous'
        ? undefined
        : (credentials ?? (await findCredentials(reference, options.dockerConfig, signal))),
    insecure: isInsecure(reference.host, options.insecureRegistries ?? []),
    plain: false,
    certificates: await findCertificates(reference.host, options.certificateFolders ?? certificateFolders()),
    helloMs: undefined,
    parallel: options.parallel ?? 3,
    attempts: options.attempts ?? 6,
    retryMs: options.retryMs ?? 500,
    stallMs: options.stallMs ?? transferStallMs(),
    uploadChunkBytes: options.uploadChunkBytes,
  }
}

/**
 * Everywhere where an image is looked for: the mirrors of its registry in their order, the registry last. A mirror whose
 * certificates or credentials cannot be had is passed over.
 */
export async function pullSettings(
  reference: RegistryReference,
  options: RegistryOptions,
  progress: Progress,
): Promise<RegistrySettings[]> {
  const settings: RegistrySettings[] = []
  for (const mirror of mirrorsOf(reference.host, options.mirrors ?? {})) {
    try {
      settings.push(await mirrorSettings(mirrored(reference, mirror), mirror, options, progress.signal))
    } catch (error) {
      progress.throwIfEnded()
      progress.report(`The mirror ${mirror.host} is passed over: ${CoppiceError.from(error).message}`)
    }
  }
  return [...settings, await registrySettings(reference, options, progress.signal)]
}

/** Who asks the registry is nobody the mirror knows. */
async function mirrorSettings(
  reference: RegistryReference,
  { plain }: Mirror,
  { credentials, ...options }: RegistryOptions,
  signal: AbortSignal,
): Promise<RegistrySettings> {
  const anonymous = credentials === 'anonymous' ? { credentials } : {}
  const settings = await registrySettings(reference, { ...options, ...anonymous }, signal)
  const attempts = Math.min(settings.attempts, MIRROR_ATTEMPTS)
  return { ...settings, plain, attempts, helloMs: Math.min(MIRROR_HELLO_MS, settings.stallMs) }
}

function isInsecure(host: string, allowed: string[]): boolean {
  const name = hostName(host)
  return isLoopback(name) || allowed.includes(host) || allowed.includes(name)
}

/** Without the port. */
export function hostName(host: string): string {
  return host.replace(/:[0-9]+$/, '')
}

/** Names and addresses that can only be this machine. */
export function isLoopback(name: string): boolean {
  return name === 'localhost' || /^127(\.[0-9]{1,3}){3}$/.test(name) || name === '[::1]'
}
