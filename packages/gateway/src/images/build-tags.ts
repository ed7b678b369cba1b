import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Engine, EngineKind } from '@coppice/engines'
import { CoppiceError, Progress } from '@coppice/protocol'
import type { Home } from '../state/home.ts'
import { engineOf } from './engines.ts'

/** Milliseconds for taking a name out of an engine again. */
const CLEAN_UP_MS = 60_000

/** As engines list it: Podman writes its registry in front. */
const TAG = /^(?:docker\.io\/library\/|localhost\/)?coppice-build:([0-9a-f]{8})-([0-9a-f]{8})-[0-9a-f]{16}$/

/**
 * The names that results of builds have in an engine until they are in the store: `coppice-build:HOME-PROCESS-CHANCE`. While there
 * are any, a note in the home's scratch folder says in which engine; one that is there when a gateway starts is of one that was killed.
 */
export class BuildTags {
  readonly #home: Home
  readonly #process = randomBytes(4).toString('hex')
  /** Builds that go on, or whose name could not be removed. */
  readonly #taken: Record<EngineKind, number> = { docker: 0, podman: 0 }

  constructor(home: Home) {
    this.#home = home
  }

  /** A name for a result. `release` removes it from the engine, and never rejects: what it cannot, the next gateway of this home does. */
  take(engine: Engine): { tag: string; release: () => Promise<void> } {
    const { kind } = engine.dialect
    const tag = `coppice-build:${this.#home.hash}-${this.#process}-${randomBytes(8).toString('hex')}`
    mkdirSync(this.#home.scratch, { recursive: true, mode: 0o700 })
    writeFileSync(this.#note(kind), '', { mode: 0o600 })
    this.#taken[kind]++
    const release = async (): Promise<void> => {
      try {
        await engine.images.remove(tag, new Progress({ timeoutMs: CLEAN_UP_MS }), true)
      } catch {
        return
      }
      this.#taken[kind]--
      if (this.#taken[kind] === 0) rmSync(this.#note(kind), { force: true })
    }
    return { tag, release }
  }

  /**
   * Removes the names that gateways of this home have left that were killed in the middle of a build, and no others. Where the engine
   * does not answer, that waits for the next start. Never rejects.
   */
  async sweep(log: (message: string) => void): Promise<void> {
    for (const kind of ['docker', 'podman'] as const) {
      if (!existsSync(this.#note(kind))) continue
      try {
        const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
        const engine = await engineOf(kind, progress)
        const tags = (await engine.images.list([], progress)).flatMap(({ RepoTags }) => RepoTags ?? [])
        for (const tag of tags) if (this.#isLeft(tag)) await engine.images.remove(tag, progress, true)
        if (this.#taken[kind] === 0) rmSync(this.#note(kind), { force: true })
      } catch (error) {
        log(
          `What a build that was cut has left in ${kind} stays until the next start: ${CoppiceError.from(error).message}`,
        )
      }
    }
  }

  #isLeft(tag: string): boolean {
    const [, home, process] = TAG.exec(tag) ?? []
    return home === this.#home.hash && process !== this.#process
  }

  #note(kind: EngineKind): string {
    return join(this.#home.scratch, `building-${kind}`)
  }
}
