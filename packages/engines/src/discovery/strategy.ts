import type { Progress } from '@coppice/protocol/wire'

/** What discovery may look at. Tests give their own. */
export interface Surroundings {
  env: Record<string, string | undefined>
  /** Home folder of the user. */
  home: string
  uid: number
  /** Runs a program for a few seconds at most, and returns what it printed, or why it did not. */
  run(program: string, args: string[], progress: Progress): Promise<{ printed: string } | { because: string }>
}

/** An address that somebody named, or that is usual. */
export interface Candidate {
  /** As `DOCKER_HOST` has it, or a path. */
  address: string
  /** Where it is from, for people: `DOCKER_HOST`, `docker context "colima"`. */
  from: string
  /** Somebody chose it: when it does not work, no other one is tried behind their back. */
  chosen: boolean
}

/** One way to find an engine. It says what it found, or why it does not apply. */
export interface Strategy {
  /** In kebab case, for programs. */
  name: string
  find(surroundings: Surroundings, progress: Progress): Promise<Candidate[] | { because: string }>
}
