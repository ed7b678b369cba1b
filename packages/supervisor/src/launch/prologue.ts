import type { Tools } from '../paths.ts'
import type { ScopeEntry } from '../scope/kill-scope.ts'
import type { Identity } from './identity.ts'
import { quote } from './script.ts'

/** An exec is the OOM killer's first choice. Raising one's own value needs no privilege. */
const OOM_SCORE_ADJ = 800

/** Exit status of a launcher that could not enter its scope. */
export const LAUNCH_FAILED_STATUS = 111

/** What a launcher's shell is told first: to say its pid. That it answers means that it is ready for the script. */
export const ASK_READY = 'echo $$\n'

/**
 * Closes everything but stdio. node-pty leaves its terminals open for every program that is started: without this each exec
 * could read and write those of the others. Nothing is redirected around the loop: it would close what busybox keeps to undo
 * that, which ends in an endless loop.
 */
const CLOSE_INHERITED = `cd /proc/self/fd
for fd in *; do
  if [ "$fd" -gt 2 ] 2>/dev/null; then eval "exec $fd>&-"; fi
done
cd /`

/**
 * Program and arguments of a launcher. It closes what it must not have, enters its scope, becomes the first to go when memory
 * ends, switches the user, and becomes a shell that reads its standard input. `before` runs inside of the scope, as the
 * supervisor's user; `identity` undefined stays who the supervisor is.
 */
export function launcherWords(
  entry: ScopeEntry,
  identity: Identity | undefined,
  tools: Tools,
  before: string,
): [string, ...string[]] {
  const ready = [...switchWords(identity, tools), tools.busybox, 'sh']
  const inside = [
    before,
    ...(entry.prologue === '' ? [] : [`{ ${entry.prologue}; } || exit ${LAUNCH_FAILED_STATUS}`]),
    `echo ${OOM_SCORE_ADJ} 2>/dev/null >/proc/self/oom_score_adj`,
    'umask 022',
    `exec ${ready.map(quote).join(' ')}`,
  ].join('\n')
  const wrapped = [...entry.wrapper, tools.busybox, 'sh', '-c', inside]
  const outside = `${entry.opening}\nexec ${wrapped.map(quote).join(' ')}`
  const rest = entry.wrapper.length === 0 ? inside : outside
  return [tools.busybox, 'sh', '-c', `${CLOSE_INHERITED}\n${rest}`]
}

function switchWords(identity: Identity | undefined, tools: Tools): string[] {
  if (!identity) return []
  const groups = identity.groups.length > 0 ? [`--groups=${identity.groups.join(',')}`] : ['--clear-groups']
  return [...tools.setpriv, `--reuid=${identity.uid}`, `--regid=${identity.gid}`, ...groups, '--']
}
