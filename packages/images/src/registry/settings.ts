import { type RegistryReference, transferStallMs } from '@coppice/protocol/wire'
import { type Credentials, findCredentials } from './credentials.ts'

/** How registries are talked to; every field has a default. */
export interface RegistryOptions {
  /**
   * `host` or `host:port` of registries that are asked without checking their certificate, and over plain HTTP where they
   * do not speak TLS. Hosts of this machine (`localhost`, 127.0.0.0/8, `::1`) always are.
   */
  insecureRegistries?: string[]
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

/** The same for one registry, complete, and ready for another thread. */
export interface RegistrySettings {
  reference: RegistryReference
  credentials: Credentials | undefined
  insecure: boolean
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
    parallel: options.parallel ?? 3,
    attempts: options.attempts ?? 6,
    retryMs: options.retryMs ?? 500,
    stallMs: options.stallMs ?? transferStallMs(),
    uploadChunkBytes: options.uploadChunkBytes,
  }
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
