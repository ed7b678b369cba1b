import { isAbsolute } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/**
 * The path of an engine's unix socket from an address as `DOCKER_HOST` has it: `unix:///path`, or the path alone. Throws
 * `unsupported/engine_elsewhere` for an engine of another host, `invalid_argument/bad_engine_address` for what is no address.
 */
export function socketPath(address: string): string {
  const text = address.trim()
  if (isAbsolute(text)) return text
  const match = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text)
  const scheme = match?.[1]?.toLowerCase()
  if (scheme === 'unix') {
    // unix://path is read as unix:///path, as Docker does.
    const path = match?.[2] ?? ''
    if (path.length > 1) return path.startsWith('/') ? path : `/${path}`
  }
  if (scheme !== undefined && ELSEWHERE.has(scheme)) {
    throw new CoppiceError(
      'unsupported',
      'engine_elsewhere',
      `The engine at ${withoutSecrets(text)} is reached by ${scheme}, so it may be on another host; only engines of this host work for now.`,
      {
        facts: { address: withoutSecrets(text) },
        hint: 'DOCKER_HOST=unix:///var/run/docker.sock, or run the gateway on that host',
      },
    )
  }
  throw new CoppiceError(
    'invalid_argument',
    'bad_engine_address',
    `"${withoutSecrets(text)}" is no engine's address.`,
    {
      hint: 'DOCKER_HOST=unix:///var/run/docker.sock',
    },
  )
}

const ELSEWHERE = new Set(['tcp', 'http', 'https', 'ssh', 'npipe', 'fd'])

/** Addresses may carry a password. */
function withoutSecrets(address: string): string {
  return address.replace(/\/\/[^/@]*@/, '//').slice(0, 200)
}
