import type { SupervisorInfo } from '@coppice/protocol/wire'

/** What the kernel said about memory: `unknown` where the exec has no memory cgroup of its own. */
export type OomVerdict = boolean | 'unknown'

/** Words to put before a launcher's own, and shell commands that it runs first. */
export interface ScopeEntry {
  /** Program and arguments that run the launcher's shell; empty for none. */
  readonly wrapper: readonly string[]
  /** Shell commands that run before the wrapper does. */
  readonly opening: string
  /** Shell commands, each ending in success, that put the shell itself into the scope. */
  readonly prologue: string
}

/** What stands in the log to find a scope again. */
export interface ScopeMark {
  /** The launcher, and when it started: pids are used again. */
  readonly pid: number
  readonly startTime: number
  readonly scope: string
}

export interface ScopeOptions {
  /** The program runs on a terminal and must stay in the session that owns it. */
  readonly terminal: boolean
}

/** An exit status that does not come from the launcher's own end. */
export type WaitStatus = { exitCode: number; signal: null } | { exitCode: null; signal: string }

/**
 * The processes of one exec: the main one and everything that came from it, however it changed session, parent or name.
 * One scope is one launcher's.
 */
export interface KillScope {
  /** Names it among the scopes of one sandbox; empty where nothing outlives the processes. */
  readonly name: string
  readonly entry: ScopeEntry
  /** Told by the launcher itself, once. `main` is the process that becomes the program. */
  started(launcher: number, main: number): void
  /** Something lives in it. */
  populated(): boolean
  /** Sends a signal to every process at one moment: none is missed because it forked meanwhile. */
  signalAll(signal: number): Promise<void>
  /** Sends a signal to the main process's group. False: nobody was there. */
  signalGroup(signal: number): boolean
  /**
   * Goes on following everything that came from the program after the program itself has ended, until `kill`. Without it a
   * subreaper scope ends with its program.
   */
  hold(): void
  /** Kills everything and resolves when nothing is left. */
  kill(): Promise<void>
  /** True when the kernel killed one of its processes for memory. */
  oomKilled(): OomVerdict
  /**
   * The program's wait status, when its launcher is not the program itself. `unknown`: it cannot be known. Undefined: the
   * launcher's own status is the program's.
   */
  waitStatus(): WaitStatus | 'unknown' | undefined
  /** Frees what the scope holds, now or when its last process has ended. Never kills. */
  release(): void
}

/** Makes scopes, one kind for the whole life of a supervisor. */
export interface KillScopes {
  readonly kind: SupervisorInfo['killScope']
  create(options: ScopeOptions): Promise<KillScope>
  /**
   * Kills the execs that an earlier supervisor has left running; its log names them. What belongs to ended execs, such as
   * a server that one has started, lives on.
   */
  clear(lost: readonly ScopeMark[]): Promise<void>
  /** Tries again to free what released scopes hold. */
  sweep(): void
}
