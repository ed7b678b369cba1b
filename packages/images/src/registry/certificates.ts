import { X509Certificate } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { createSecureContext } from 'node:tls'
import { CoppiceError } from '@coppice/protocol/wire'
import { errnoOf } from '../faults.ts'

/** What is trusted of one registry besides the authorities of this machine, and how it is told who connects. PEM. */
export interface HostCertificates {
  authorities: string[]
  client: { certificate: string; key: string } | undefined
}

/** A file of certificates is at most this large, bytes: all authorities of a Linux system are a quarter of it. */
const MAX_FILE_BYTES = 1024 * 1024

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g

/** Where Docker and containers (Podman, skopeo) look, for root and for everybody else. */
export function certificateFolders(home = homedir(), env = process.env): string[] {
  const config = env.XDG_CONFIG_HOME || join(home, '.config')
  return ['/etc/docker', '/etc/containers', join(config, 'docker'), join(config, 'containers')].map((dir) =>
    join(dir, 'certs.d'),
  )
}

/**
 * Reads `HOST[:PORT]/` of each folder as Docker and containers do: every `*.crt` is an authority, `NAME.cert` with `NAME.key` is
 * what this machine shows when it is asked who it is. The first such pair counts. Undefined: there is nothing for this host.
 *
 * @throws `failed_precondition/certificate_unreadable` that names the file: without it the registry would be asked in another way
 */
export async function findCertificates(host: string, folders: string[]): Promise<HostCertificates | undefined> {
  const found: HostCertificates = { authorities: [], client: undefined }
  let any = false
  for (const folder of folders) {
    const dir = join(folder, host)
    const names = (await namesIn(dir)).sort()
    for (const name of names.filter((file) => file.endsWith('.crt'))) {
      found.authorities.push(...(await authoritiesIn(join(dir, name))))
      any = true
    }
    const pair = names.find((file) => file.endsWith('.cert'))
    if (pair === undefined || found.client) continue
    found.client = await clientIn(join(dir, pair), join(dir, pair.replace(/\.cert$/, '.key')))
    any = true
  }
  return any ? found : undefined
}

async function authoritiesIn(path: string): Promise<string[]> {
  const blocks = (await read(path)).match(PEM_CERTIFICATE) ?? []
  if (blocks.length === 0) throw unreadable(path, 'it holds no certificate')
  try {
    for (const block of blocks) new X509Certificate(block)
  } catch (cause) {
    throw unreadable(path, 'a certificate in it is damaged', cause)
  }
  return blocks
}

async function clientIn(path: string, keyPath: string): Promise<{ certificate: string; key: string }> {
  const certificate = await read(path)
  const key = await read(keyPath)
  try {
    createSecureContext({ cert: certificate, key })
  } catch (cause) {
    // Only its name: what OpenSSL says of a key may be of the key.
    const said = errnoOf(cause) ?? 'it cannot be read'
    throw unreadable(path, `with ${keyPath} it is no certificate with its key (${said})`)
  }
  return { certificate, key }
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return []
    throw unreadable(dir, errnoOf(error) ?? 'unknown', error)
  }
}

async function read(path: string): Promise<string> {
  try {
    const info = await stat(path)
    if (!info.isFile()) throw unreadable(path, 'it is no file')
    if (info.size > MAX_FILE_BYTES) throw unreadable(path, `it has ${info.size} bytes`)
    return await readFile(path, 'utf8')
  } catch (error) {
    throw error instanceof CoppiceError ? error : unreadable(path, errnoOf(error) ?? 'unknown', error)
  }
}

function unreadable(path: string, why: string, cause?: unknown): CoppiceError {
  return new CoppiceError('failed_precondition', 'certificate_unreadable', `${path} cannot be used: ${why}.`, {
    cause,
    facts: { path },
    hint: `ls -l ${path}`,
  })
}
