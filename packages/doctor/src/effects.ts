import type { CoppiceError } from '@coppice/protocol/wire'
import { faultOf } from './faults.ts'

/** One thing that a repair did, would do, was not allowed to do, or failed to do. */
export interface Effect {
  /** What, in the imperative: "Remove /x/containers.json.lock". */
  sentence: string
  path: string
  result: 'done' | 'planned' | 'declined' | 'failed'
  error?: CoppiceError
}

/** What became of a repair. */
export interface Outcome {
  effects: Effect[]
}

/** The only way in which repairs change anything. */
export interface Effects {
  /**
   * Does `work`, unless this is a dry run, or it destroys something and nobody agreed. True when it was done, or would be: a
   * dry run goes on as if. A failure is kept and returned as false, never thrown.
   */
  run(sentence: string, path: string, work: () => Promise<void>, options?: { destroys?: boolean }): Promise<boolean>
  /** True when nothing may be changed: for repairs that must read back what they have just written. */
  readonly dry: boolean
  readonly outcome: Outcome
}

export interface EffectsOptions {
  dryRun: boolean
  /** Asked before something is destroyed. */
  consent(sentence: string): Promise<boolean>
  /** Told about each effect as it happens. */
  onEffect?(effect: Effect): void
}

/** Records every effect of one repair. */
export function recordEffects(options: EffectsOptions): Effects {
  const outcome: Outcome = { effects: [] }
  const keep = (effect: Effect): boolean => {
    outcome.effects.push(effect)
    options.onEffect?.(effect)
    return effect.result === 'done' || effect.result === 'planned'
  }
  return {
    outcome,
    dry: options.dryRun,
    async run(sentence, path, work, { destroys = false } = {}) {
      if (options.dryRun) return keep({ sentence, path, result: 'planned' })
      if (destroys && !(await options.consent(sentence))) return keep({ sentence, path, result: 'declined' })
      try {
        await work()
        return keep({ sentence, path, result: 'done' })
      } catch (error) {
        return keep({ sentence, path, result: 'failed', error: faultOf(error, path) })
      }
    },
  }
}
