import { CoppiceError } from '@coppice/protocol/wire'
import { limitText, type OpenFileLimit } from './limit.ts'
import { LEAST_OPEN_FILES } from './wanted.ts'

/**
 * To which soft limit a child is to be raised; undefined when it gets what there is. Never lower than it is, and not beyond
 * the hard limit.
 */
export function raiseTo(limit: OpenFileLimit, wanted: number): number | undefined {
  const target = Math.min(wanted, limit.hard)
  return target > limit.soft ? target : undefined
}

/** What a child really gets, in words. `enough`: at least what is wanted; `short`: less; `too-few`: a build must not begin. */
export function judge(actual: number, wanted: number): 'enough' | 'short' | 'too-few' {
  if (actual >= wanted) return 'enough'
  return actual >= LEAST_OPEN_FILES ? 'short' : 'too-few'
}

/** The command that raises what stands in the way, for this process and what it starts from now on. */
export function raiseCommand(limit: OpenFileLimit, wanted: number, platform: NodeJS.Platform, pid: number): string {
  if (platform === 'linux') {
    const hard = Math.max(limit.hard, wanted)
    return `sudo prlimit --pid ${pid} --nofile=${limitText(limit.soft)}:${limitText(hard)}`
  }
  if (platform === 'darwin') return `sudo launchctl limit maxfiles ${wanted} unlimited`
  return `ulimit -n ${wanted}`
}

/** One sentence about a limit that is less than wanted. */
export function shortSentence(actual: number, limit: OpenFileLimit, wanted: number, command: string): string {
  const why = `soft limit ${limitText(limit.soft)}, hard limit ${limitText(limit.hard)}`
  return `Builds may open ${limitText(actual)} files at a time, wanted are ${wanted} (${why}). To raise it: ${command}`
}

/** `resource_exhausted/open_file_limit`: no build is begun with so few. */
export function tooFew(actual: number, limit: OpenFileLimit, wanted: number, command: string): CoppiceError {
  return new CoppiceError(
    'resource_exhausted',
    'open_file_limit',
    `The limit of open files (RLIMIT_NOFILE) is ${limitText(actual)}; no build is begun below ${LEAST_OPEN_FILES}.`,
    {
      facts: {
        limit: 'RLIMIT_NOFILE',
        actual: limitText(actual),
        soft: limitText(limit.soft),
        hard: limitText(limit.hard),
        wanted,
      },
      hint: command,
    },
  )
}
