/**
 * # Checks
 *
 * A check looks at one thing and says what is wrong with it. `detect` **never changes anything**; `repair` does, and only
 * through `ctx.effects`, so that a dry run and a refusal are the same for every check. After a repair `detect` runs again, and
 * only what it does not find any more counts as fixed.
 *
 * - Whether something works is found out by running something small, not by looking for a file.
 * - What could not be looked at is a finding of severity `unverified`. It is never silence, because silence means "in order".
 * - A check that throws or takes too long is such a finding too.
 * - A finding ends with **one next command that really helps**. It is never the doctor itself.
 * - What is absent and not needed (an engine that is not installed) is a note for people, no finding.
 */

import type { Home } from '@coppice/protocol/home'
import type { Progress } from '@coppice/protocol/wire'
import type { Effects, Outcome } from './effects.ts'
import type { GatewayState } from './gateway-state.ts'
import type { Sightings } from './leaks/sightings.ts'

/** error: something does not work or is damaged. warning: it will hurt later. unverified: it could not be looked at. */
export type Severity = 'error' | 'warning' | 'unverified'

/** One thing that is not in order. */
export interface Finding {
  severity: Severity
  /** One sentence. */
  message: string
  /** The file or folder that it is about, absolute. */
  path?: string
  /** The next command to run. */
  hint: string
  /** True when `repair` of the same check knows what to do. */
  fixable: boolean
}

/** What a check gets to look with. */
export interface CheckContext {
  home: Home
  env: NodeJS.ProcessEnv
  /** Found out once for all checks. */
  gateway: Promise<GatewayState>
  /** What has been seen so far: what one look has waited for, the next one need not. */
  sightings: Sightings
  /** Ends when the check's time is up: hand it to everything that waits. */
  progress: Progress
  /** Says something to people that is no finding: a version, a thing that is not installed. */
  note(text: string): void
}

/** What a repair gets besides. */
export interface RepairContext extends CheckContext {
  effects: Effects
  /** True while no gateway runs and none can start: the home is the doctor's alone. */
  exclusive: boolean
}

export interface Check {
  /** `area/kebab-case`, never used for anything else again. */
  readonly id: string
  /** Milliseconds for `detect`. Default 10,000. */
  readonly limitMs?: number
  detect(ctx: CheckContext): Promise<Finding[]>
  /** Gets the findings that are `fixable`. Throws nothing that an effect has thrown. */
  repair?(ctx: RepairContext, findings: Finding[]): Promise<Outcome>
}

/** The severity is read first, so it stands first. */
export function finding(
  severity: Severity,
  message: string,
  hint: string,
  more: { path?: string; fixable?: boolean } = {},
): Finding {
  return {
    severity,
    message,
    hint,
    fixable: more.fixable ?? false,
    ...(more.path === undefined ? {} : { path: more.path }),
  }
}
