import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import { CoppiceError, type ResolvedExecSpec, type SupervisorConfig } from '@coppice/protocol/wire'
import { type Identity, resolveIdentity, sameIdentity } from '../launch/identity.ts'
import { DEFAULT_PATH, requireDirectory, resolveProgram } from '../launch/program.ts'
import { startScript } from '../launch/script.ts'

/** An exec that has been looked at from all sides and can be started. */
export interface ExecPlan {
  readonly argv: readonly string[]
  readonly cwd: string
  readonly user: string
  /** Who to become; undefined stays who the supervisor is. */
  readonly identity: Identity | undefined
  readonly script: string
}

/** What an exec is planned with besides what was asked for. */
export interface PlanContext {
  readonly defaults: SupervisorConfig['defaults']
  /** Variables that come before those of `layers`, of which they are to leave out what is set there. */
  readonly variables: (layers: readonly (Record<string, string> | undefined)[]) => Record<string, string>
  readonly busybox: string
}

/**
 * Resolves what an exec names against the sandbox: user, working directory, program. Throws the typed error of the first
 * that does not fit; nothing has happened then.
 */
export function planExec(spec: ResolvedExecSpec, { defaults, variables, busybox }: PlanContext): ExecPlan {
  if ((spec.argv === undefined) === (spec.shell === undefined)) {
    throw new CoppiceError(
      'invalid_argument',
      'invalid_request',
      'The request is not valid: give either argv or shell.',
    )
  }
  const argv = spec.argv ?? ['/bin/sh', '-c', spec.shell ?? '']
  const user = spec.user ?? defaults.user
  const identity = chooseIdentity(user)
  const cwd = resolve('/', defaults.cwd, spec.cwd ?? '')
  const env: Record<string, string> = { PATH: DEFAULT_PATH, HOME: identity.home }
  if (spec.pty) env.TERM = spec.pty.term
  Object.assign(env, variables([defaults.env, spec.env]), defaults.env, spec.env)
  requireDirectory(cwd, identity)
  const path = resolveProgram(argv[0] ?? '', cwd, env.PATH ?? '', identity)
  const script = startScript(
    { path, argv, cwd, env, stdin: spec.stdin === 'stream' || spec.pty !== undefined },
    busybox,
  )
  return { argv, cwd, user, identity: switchTo(identity), script }
}

/** Who an exec that names no user becomes. Undefined: it stays who the supervisor is. Throws `not_found/user_not_found`. */
export function defaultIdentity(defaults: SupervisorConfig['defaults']): Identity | undefined {
  return switchTo(chooseIdentity(defaults.user))
}

function switchTo(identity: Identity): Identity | undefined {
  return sameIdentity(ownIdentity(), identity) ? undefined : identity
}

/** SHA-256 over what was asked for. The same request has the same one, in whatever order its fields came. */
export function specDigest(spec: ResolvedExecSpec): string {
  const { id: _id, key: _key, ...asked } = spec
  return createHash('sha256')
    .update(JSON.stringify(sorted(asked)))
    .digest('base64url')
}

function sorted(value: unknown): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value
  const entries = Object.entries(value).filter(([, member]) => member !== undefined)
  return entries.sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, member]) => [name, sorted(member)])
}

/** A supervisor that is not root runs everything as itself. */
function chooseIdentity(user: string): Identity {
  const own = ownIdentity()
  if (own.uid !== 0 && user === '') return own
  const identity = resolveIdentity(user)
  if (own.uid === 0 || own.uid === identity.uid) return own.uid === 0 ? identity : own
  throw new CoppiceError(
    'permission_denied',
    'cannot_switch_user',
    'The supervisor is not root and cannot run as others.',
    {
      facts: { user },
    },
  )
}

function ownIdentity(): Identity {
  const uid = process.getuid?.() ?? 0
  const gid = process.getgid?.() ?? 0
  const groups = (process.getgroups?.() ?? []).filter((id) => id !== gid).sort((a, b) => a - b)
  return { uid, gid, groups, home: process.env.HOME ?? '/' }
}
