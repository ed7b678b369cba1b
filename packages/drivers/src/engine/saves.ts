import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Engine, ImageInspection } from '@coppice/engines'
import { BLOCK } from '@coppice/images'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { SavedFiles } from '../driver.ts'
import { isAlive, ownIdentity, type ProcessIdentity } from '../host/process.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import { markedFolders, readSaveMark, removeSaveMark, type SaveMark, writeSaveMark } from '../lifecycle/save-mark.ts'
import { heldStill, letGoOn } from './hold.ts'
import { LayerOfImage, readableLayer } from './image-layer.ts'
import type { EngineLink } from './link.ts'
import type { Names } from './names.ts'
import { ownContainer } from './own.ts'
import { filesGone } from './run-state.ts'

/** Milliseconds for giving something back at an engine. */
const CLEAN_UP_MS = 30_000

/** Milliseconds that a commit is waited for when nobody wants it any more: what it makes is then gone when the caller goes on. */
const LATE_MS = 5000

/** Milliseconds in which an engine ends a commit whose caller was killed, once the container that it held still goes on. */
const ORPHAN_MS = 20_000

/**
 * What engines put into a container's own files for themselves: where they mount things, and the marks by which programs see
 * that they are in a container.
 */
const ENGINES_OWN = [
  ...['.coppice', '.coppice-run', '.coppice-state', '.dockerenv', 'run/.containerenv'],
  ...['etc/hosts', 'etc/hostname', 'etc/resolv.conf'],
]

/** What a save has at the engine. */
interface Saved {
  /** Name of the image. */
  image: string
  /** Somebody else held the container still before. */
  paused: boolean
}

type Mark = SaveMark<Saved>

const NOBODY: ProcessIdentity = { pid: 0, startTicks: 0 }

/**
 * Saves the files of sandboxes by their engine's commit. The image that it makes is ours for as long as its files are read, and
 * is removed then, or by whoever comes next.
 */
export class Saves {
  readonly #link: EngineLink
  readonly #names: Names
  readonly #root: string
  /** Names of images whose files this object's callers read. */
  readonly #active = new Set<string>()

  /** `root`: folder of the driver. */
  constructor(options: { link: EngineLink; names: Names; root: string }) {
    this.#link = options.link
    this.#names = options.names
    this.#root = options.root
  }

  /** See `Driver.saveFiles`. */
  async save(folder: SandboxFolder, progress: Progress): Promise<SavedFiles> {
    const engine = await this.#link.reach(progress)
    await this.tidy(folder, engine)
    const found = await ownContainer(engine, this.#names, folder, progress)
    if (!found) throw filesGone(engine, folder.id, this.#names.container(folder.id))
    const below = (await engine.images.inspect(found.Image, progress))?.RootFS?.Layers ?? undefined
    const { repository } = this.#names
    const tag = this.#names.savedTag(folder.id, randomBytes(4).toString('hex'))
    const image = `${repository}:${tag}`
    const mark = { by: ownIdentity(), what: { image, paused: found.State.Paused === true } }
    progress.throwIfEnded()
    writeSaveMark(folder, mark)
    this.#active.add(image)
    // Not with this progress: an engine goes on with a commit when its caller hangs up, and nobody would know.
    const once = () => engine.containers.commit(found.Id, { repository, tag }, new Progress())
    const commit = heldStill(found, progress, once)
    try {
      await progress.race(commit)
      const made = await engine.images.mustInspect(image, progress)
      const upper = await readableLayer(engine, made, progress)
      return this.#saved(engine, folder, mark, { made, below, upper }, progress)
    } catch (cause) {
      if (!mark.what.paused)
        await engine.containers.unpause(found.Id, new Progress({ timeoutMs: LATE_MS })).catch(() => {})
      const over = commit.then(
        () => this.#giveBack(folder, mark),
        () => this.#giveBack(folder, mark),
      )
      await Promise.race([over, sleep(LATE_MS, undefined, { ref: false })])
      throw cause
    }
  }

  /**
   * Takes back what a save of this sandbox has left that nobody reads any more: an image, a container that is held still. Throws
   * when the engine cannot be asked; the next call finds it again then.
   */
  async tidy(folder: SandboxFolder, engine?: Engine): Promise<void> {
    const mark = readSaveMark<Saved>(folder)
    if (!mark || isAlive(mark.by)) return
    const progress = new Progress({ timeoutMs: CLEAN_UP_MS + ORPHAN_MS })
    await this.#takeBack(engine ?? (await this.#link.reach(progress)), folder, mark, progress)
  }

  /** The same for every sandbox. What cannot be done now is done at the next call. */
  async tidyAll(): Promise<void> {
    for (const folder of markedFolders(this.#root)) await this.tidy(folder).catch(() => {})
  }

  /** Names of images whose files are being read, by whichever process. */
  underWay(): Set<string> {
    const marks = markedFolders(this.#root).map((folder) => readSaveMark<Saved>(folder))
    return new Set([...this.#active, ...marks.flatMap((mark) => (mark && isAlive(mark.by) ? [mark.what.image] : []))])
  }

  #saved(
    engine: Engine,
    folder: SandboxFolder,
    mark: Mark,
    found: { made: ImageInspection; below: string[] | undefined; upper: string | undefined },
    progress: Progress,
  ): SavedFiles {
    const { made, below, upper } = found
    const layers = made.RootFS?.Layers ?? []
    // An engine may leave out a layer that holds nothing.
    if (below && layers.join() === below.join()) {
      const dispose = () => this.#giveBack(folder, mark)
      return { form: 'layer', chunks: emptyLayer(), leaveOut: ENGINES_OWN, dispose }
    }
    const diffId = layers.at(-1)
    if (diffId === undefined || (below && layers.slice(0, -1).join() !== below.join())) {
      const message = `${engine.dialect.title} saved the files of ${folder.id} on top of another image.`
      throw new CoppiceError('internal', 'commit_differs', message, { facts: { below, layers } })
    }
    const stop = new AbortController()
    const own = new Progress({ signal: AbortSignal.any([progress.signal, stop.signal]) })
    const packed = upper === undefined ? undefined : new LayerOfImage(upper, this.#root)
    const dispose = async (): Promise<void> => {
      stop.abort()
      await packed?.close()
      await this.#giveBack(folder, mark)
    }
    // Out of a whole image, where the engine's files are not for us to read.
    const chunks = packed ? packed.chunks(own) : engine.images.save([mark.what.image], own)
    const form = packed ? 'layer' : 'docker-archive'
    return { form, chunks, leaveOut: ENGINES_OWN, dispose, ...(packed ? {} : { diffId, sizeBytes: made.Size }) }
  }

  /** Never throws. */
  async #giveBack(folder: SandboxFolder, mark: Mark): Promise<void> {
    try {
      const progress = new Progress({ timeoutMs: CLEAN_UP_MS })
      await this.#takeBack(await this.#link.reach(progress), folder, mark, progress)
    } catch {
      writeSaveMark(folder, { ...mark, by: NOBODY })
    }
    this.#active.delete(mark.what.image)
  }

  async #takeBack(engine: Engine, folder: SandboxFolder, mark: Mark, progress: Progress): Promise<void> {
    const { image, paused } = mark.what
    const found = await ownContainer(engine, this.#names, folder, progress)
    const held = !paused && found?.State.Paused === true
    if (held) await engine.containers.unpause(found.Id, progress)
    if (!paused && found) letGoOn(found)
    // Its commit is still under way, although nobody waits for it.
    if (held && !isAlive(mark.by)) await appearance(engine, image, progress)
    await engine.images.remove(image, progress, true)
    if (readSaveMark<Saved>(folder)?.what.image === image) removeSaveMark(folder)
  }
}

async function appearance(engine: Engine, image: string, progress: Progress): Promise<void> {
  const deadline = performance.now() + ORPHAN_MS
  while (performance.now() < deadline && !(await engine.images.inspect(image, progress))) await sleep(100)
}

async function* emptyLayer(): AsyncGenerator<Buffer> {
  yield Buffer.alloc(2 * BLOCK)
}
