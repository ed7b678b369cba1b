import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { CoppiceError, type RegistryReference } from '@coppice/protocol/wire'
import { z } from 'zod'
import { errnoOf } from '../faults.ts'
import { programPath } from '../host/programs.ts'

/** Who asks a registry: a name and a password, or a token that its token service takes for one. Never logged. */
export type Credentials = PasswordCredentials | { identityToken: string }

export interface PasswordCredentials {
  username: string
  password: string
}

/** Milliseconds that a credential helper may take; some ask a person. */
const HELPER_MS = 60_000
const HELPER_BYTES = 256 * 1024

/** Docker keeps what belongs to docker.io under this address. */
const HUB = 'https://index.docker.io/v1/'

const AuthSchema = z.looseObject({
  auth: z.string().nullish(),
  username: z.string().nullish(),
  password: z.string().nullish(),
  identitytoken: z.string().nullish(),
})
const ConfigSchema = z.looseObject({
  auths: z.record(z.string(), AuthSchema).nullish(),
  credsStore: z.string().nullish(),
  credHelpers: z.record(z.string(), z.string()).nullish(),
})
const HelperAnswerSchema = z.looseObject({ Username: z.string(), Secret: z.string() })

/**
 * What Docker's configuration knows of a registry: its helper for that registry, its store, its own list, in this order.
 * Undefined: nothing, ask without a name. Throws `failed_precondition/docker_config`, `credential_helper`.
 *
 * @param dir default `$DOCKER_CONFIG`, else `~/.docker`
 */
export async function findCredentials(
  { host }: Pick<RegistryReference, 'host'>,
  dir: string | undefined,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const file = join(dir ?? (process.env.DOCKER_CONFIG || join(homedir(), '.docker')), 'config.json')
  const config = await readConfig(file)
  const names = host === 'docker.io' ? [HUB, 'index.docker.io', 'docker.io', 'registry-1.docker.io'] : [host]
  const helper = names.map((name) => config.credHelpers?.[name]).find((found) => found) ?? config.credsStore
  if (helper) {
    const found = await askHelper(helper, names[0] ?? host, signal)
    if (found) return found
  }
  for (const [key, auth] of Object.entries(config.auths ?? {})) {
    if (names.includes(key) || names.includes(hostOfKey(key))) return fromAuth(auth, file)
  }
  return undefined
}

/** Docker writes hosts, and long ago wrote addresses. */
function hostOfKey(key: string): string {
  return key.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
}

async function readConfig(file: string): Promise<z.infer<typeof ConfigSchema>> {
  let text: string
  try {
    text = await readFile(file, 'utf8')
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errnoOf(error) ?? '')) return {}
    throw badConfig(file, error)
  }
  try {
    return ConfigSchema.parse(JSON.parse(text))
  } catch {
    // Not with the cause: it may quote what the file holds.
    throw badConfig(file)
  }
}

function fromAuth(auth: z.infer<typeof AuthSchema>, file: string): Credentials | undefined {
  if (auth.identitytoken) return { identityToken: auth.identitytoken }
  if (auth.username && auth.password) return { username: auth.username, password: auth.password }
  if (!auth.auth) return undefined
  const text = Buffer.from(auth.auth, 'base64').toString('utf8')
  const colon = text.indexOf(':')
  if (colon < 1) throw badConfig(file)
  return { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') }
}

/** `docker-credential-NAME get`, as Docker calls it. */
async function askHelper(name: string, server: string, signal: AbortSignal): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9._-]+$/.test(name)) throw helperFailed(name, 'its name is none of a program')
  const { stdout, failure } = await new Promise<{ stdout: string; failure: Error | null }>((resolve) => {
    const options = {
      env: { ...process.env, PATH: programPath() },
      timeout: HELPER_MS,
      maxBuffer: HELPER_BYTES,
      signal,
    }
    const child = execFile(`docker-credential-${name}`, ['get'], options, (error, out) =>
      resolve({ stdout: out, failure: error }),
    )
    child.stdin?.on('error', () => undefined).end(server)
  })
  if (failure) {
    // The protocol's way to say that there is nothing; it goes to stdout with status 1.
    if (/credentials not found/i.test(stdout)) return undefined
    throw helperFailed(
      name,
      errnoOf(failure) === 'ENOENT' ? 'it is not installed' : stdout.trim().slice(0, 200),
      failure,
    )
  }
  try {
    const answer = HelperAnswerSchema.parse(JSON.parse(stdout))
    if (answer.Username === '<token>') return { identityToken: answer.Secret }
    return { username: answer.Username, password: answer.Secret }
  } catch {
    throw helperFailed(name, 'its answer cannot be read')
  }
}

function helperFailed(name: string, why: string, cause?: unknown): CoppiceError {
  const program = `docker-credential-${name}`
  return new CoppiceError('failed_precondition', 'credential_helper', `The program ${program} failed: ${why}`, {
    facts: { program },
    hint: `${program} list`,
    ...(cause instanceof Error && { cause: new Error(cause.name) }),
  })
}

function badConfig(file: string, cause?: unknown): CoppiceError {
  return new CoppiceError('failed_precondition', 'docker_config', `${file} cannot be read.`, {
    cause,
    facts: { path: file },
  })
}
