import { join } from 'node:path'
import type { EngineKind, Surroundings } from '@coppice/engines'
import type { Progress } from '@coppice/protocol/wire'
import type { Driver, DriverNotice } from '../driver.ts'
import { HostDriver } from '../lifecycle/host-driver.ts'
import { ContainerEngine } from './container-engine.ts'
import { EngineImages } from './images.ts'
import { ContainerLaunch } from './launch.ts'
import { EngineLink } from './link.ts'
import { Names } from './names.ts'
import { News } from './news.ts'
import { probeEngine } from './probe.ts'
import { Saves } from './saves.ts'

export interface EngineDriverOptions {
  /** `COPPICE_HOME`, absolute: what is not in the engine lives in `<home>/drivers/<engine>`. */
  home: string
  engine: EngineKind
  /** Where to look for the engine; this process's own environment when absent. */
  surroundings?: Surroundings
  /** Milliseconds between two looks at the inits. */
  pollMs?: number
  /** Milliseconds between two signs of life that the engine is asked for while somebody watches. */
  pingMs?: number
}

/** The driver that has Docker or Podman of this host run the sandboxes. The engine is looked for when it is first needed. */
export function createEngineDriver(options: EngineDriverOptions): EngineDriver {
  return new EngineDriver(options)
}

/** See `createEngineDriver`. */
export class EngineDriver extends HostDriver implements Driver {
  readonly wants = 'blobs'
  readonly #news: News
  readonly #link: EngineLink
  readonly #images: EngineImages

  constructor(options: EngineDriverOptions) {
    const root = join(options.home, 'drivers', options.engine)
    const link = new EngineLink(options.engine, options.surroundings)
    const names = new Names(options.home)
    const saves = new Saves({ link, names, root })
    const images = new EngineImages(names, () => saves.underWay())
    const launch = new ContainerLaunch(link, names, images)
    const news = new News({ link, names, root, ...(options.pingMs === undefined ? {} : { pingMs: options.pingMs }) })
    super({
      name: options.engine,
      capabilities: {
        isolation: 'namespaces',
        checkpoint: 'filesystem',
        resize: true,
        limits: true,
        readOnlyRoot: true,
        network: 'session',
      },
      uidBase: 0,
      root,
      engine: new ContainerEngine({ link, names, news, launch, saves }),
      probe: async (progress) => {
        const probe = await probeEngine({ root, link, names, images }, progress)
        if (probe.available) news.wake()
        return probe
      },
      ...(options.pollMs === undefined ? {} : { pollMs: options.pollMs }),
    })
    // At the start and after every time without the engine: what was cut off then may hold a sandbox still.
    news.notices(({ available }) => {
      if (available) void saves.tidyAll()
    })
    this.#news = news
    this.#link = link
    this.#images = images
  }

  notices(listener: (notice: DriverNotice) => void): () => void {
    return this.#news.notices(listener)
  }

  /**
   * Removes images from the engine that were put there for this home, are used by no container, and are not kept. `keep`: whether
   * the store still has an image of these layers (digests of the unpacked layers, lowest first).
   */
  async pruneImages(keep: (diffIds: string[]) => boolean, progress: Progress): Promise<void> {
    await this.#images.prune(await this.#link.reach(progress), keep, progress)
  }
}
