import { readdirSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { type EngineState, EventFeed } from '@coppice/engines'
import { Progress } from '@coppice/protocol/wire'
import type { DriverNotice } from '../driver.ts'
import type { EngineNews } from '../lifecycle/engine.ts'
import { isSandboxId, SandboxFolder } from '../lifecycle/folder.ts'
import { readRecord } from '../lifecycle/record.ts'
import type { Outage } from './end.ts'
import type { EngineLink } from './link.ts'
import { type Names, SANDBOX_LABEL } from './names.ts'
import { notedContainer } from './own.ts'

const CATCH_UP_MS = 30_000

/**
 * What an engine tells by itself, as far as it concerns one home's sandboxes, and whether the engine is there. What happened while
 * it was not listened to is found by looking. Nobody looks for an engine that no sandbox needs: that begins with the first one, or
 * when a probe has found it.
 */
export class News {
  readonly #link: EngineLink
  readonly #names: Names
  readonly #root: string
  readonly #pingMs: number | undefined
  readonly #listeners = new Set<(notice: DriverNotice) => void>()
  #notice: DriverNotice | undefined
  #begin: (() => void) | undefined
  #outage: Outage | undefined

  /** `root`: folder of the driver. `pingMs`: see `EventFeedOptions`. */
  constructor(options: { link: EngineLink; names: Names; root: string; pingMs?: number }) {
    this.#link = options.link
    this.#names = options.names
    this.#root = options.root
    this.#pingMs = options.pingMs
  }

  /** The latest time without the engine, as far as it was noticed. */
  get outage(): Outage | undefined {
    return this.#outage
  }

  /** See `Driver.notices`. */
  notices(listener: (notice: DriverNotice) => void): () => void {
    this.#listeners.add(listener)
    if (this.#notice) listener(this.#notice)
    return () => void this.#listeners.delete(listener)
  }

  /** Listens until the returned function is called. */
  listen(news: EngineNews): () => void {
    const stop = new AbortController()
    let feed: EventFeed | undefined
    this.#begin = () => {
      feed ??= this.#feed(news, stop.signal)
    }
    if (readdirSync(this.#root).some(isSandboxId)) this.#begin()
    return () => {
      this.#begin = undefined
      stop.abort()
      feed?.close()
    }
  }

  /** The engine is needed, or known to be there. */
  wake(): void {
    this.#begin?.()
  }

  #feed(news: EngineNews, signal: AbortSignal): EventFeed {
    return new EventFeed({
      connect: (progress) => this.#link.reach(progress),
      ...(this.#pingMs === undefined ? {} : { pingMs: this.#pingMs }),
      onEvent: ({ id: container, action, attributes }) => {
        const id = this.#sandboxOf(container, attributes)
        if (id === undefined) return
        if (action === 'die') news(id, 'ended')
        if (action === 'destroy') news(id, 'gone')
      },
      onState: (state) => {
        this.#note(state)
        if (state.available) this.#catchUp(news, new Progress({ timeoutMs: CATCH_UP_MS, signal })).catch(() => {})
      },
    })
  }

  /** By its name, or by its label when somebody has renamed it; its id decides. */
  #sandboxOf(container: string, attributes: Record<string, string>): string | undefined {
    const named = this.#names.sandbox(attributes.name ?? '')
    for (const id of [named, attributes[SANDBOX_LABEL]]) {
      if (id === undefined || !isSandboxId(id)) continue
      const noted = notedContainer(new SandboxFolder(this.#root, id))
      if (noted === container || (noted === undefined && id === named)) return id
    }
    return undefined
  }

  #note({ available, detail, since }: EngineState): void {
    if (!available) this.#outage = { from: since, until: null }
    else if (this.#outage) this.#outage = { ...this.#outage, until: since }
    this.#notice = { available, detail, at: since }
    for (const listener of this.#listeners) listener(this.#notice)
  }

  /** Finds stopped sandboxes whose containers were removed while nobody listened. Those that run are watched by their inits. */
  async #catchUp(news: EngineNews, progress: Progress): Promise<void> {
    const folders = (await readdir(this.#root)).filter(isSandboxId)
    if (folders.length === 0) return
    const engine = await this.#link.reach(progress)
    const containers = await engine.containers.list([SANDBOX_LABEL], progress)
    const there = new Set(containers.flatMap((container) => [container.Id, this.#names.owner(container)]))
    for (const id of folders) {
      if (there.has(notedContainer(new SandboxFolder(this.#root, id)) ?? id)) continue
      const record = await readRecord(new SandboxFolder(this.#root, id).record)
      // One that is being made has no container yet.
      if (record?.complete && record.phase !== 'launching') news(id, 'gone')
    }
  }
}
