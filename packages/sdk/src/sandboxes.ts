import { type CreateSandboxRequest, newKey, type SandboxInfo } from '@coppice/protocol/wire'
import type { GatewayConnection } from './connection.ts'
import { type ImageSources, type MakeOptions, withImage } from './from/make.ts'
import type { Image } from './image.ts'
import { type NetworkOption, networkPolicy } from './network.ts'
import { Sandbox } from './sandbox.ts'

/** A first create from an image unpacks it: minutes for a large one on a slow disk. */
const CREATE_ANSWER_MS = 600_000

/** How a sandbox is to be. What is absent is the gateway's default. */
export interface CreateOptions extends MakeOptions {
  /**
   * What it is made from. A text is a folder with a Dockerfile, a folder with an OCI layout or an archive when there is one of
   * that path, and else an image of the store, a checkpoint (by id, or by name where no image has it), or an image that is pulled.
   * Default: the image `base`.
   */
  image?: Image | string | undefined
  /** The same as `image`, by the API's name. */
  from?: Image | string | undefined
  /** Unique among sandboxes that exist. */
  name?: string | undefined
  driver?: string | undefined
  /** MiB, page cache included. Default 1024. */
  memoryMB?: number | undefined
  /** Cores, fractions allowed. Default 1. */
  cpus?: number | undefined
  /** Processes and threads together. Default 4096. */
  pids?: number | undefined
  env?: Record<string, string> | undefined
  labels?: Record<string, string> | undefined
  readOnlyRoot?: boolean | undefined
  /** What it may reach outside: a mode, or the rules of what alone it may. Default `public`. */
  network?: NetworkOption | undefined
  /** Idempotency key: the same key never creates two sandboxes. Generated when absent, so that a broken connection never does. */
  key?: string | undefined
}

/** Which sandboxes a listing shows. */
export interface ListOptions {
  /** Only those that have all of these labels. */
  labels?: Record<string, string> | undefined
  /** Also removed ones, whose end records are kept for seven days. */
  all?: boolean | undefined
}

/** The sandboxes of one gateway. */
export class Sandboxes {
  readonly #connection: GatewayConnection
  readonly #sources: ImageSources

  /** Use `coppice.sandboxes`. */
  constructor(connection: GatewayConnection, sources: ImageSources) {
    this.#connection = connection
    this.#sources = sources
  }

  /** Creates a sandbox and starts it. Its image is built, imported or pulled first where that is needed. */
  async create(options: CreateOptions = {}): Promise<Sandbox> {
    const { image, from, onTaken, onProgress, onLog, signal, ...rest } = options
    const work = { onTaken, onProgress, onLog, signal }
    const info = await withImage(this.#sources, from ?? image, (ref) => this.#create(ref, rest, signal), work)
    return new Sandbox(this.#connection, info.id)
  }

  #create(
    from: string | undefined,
    options: Omit<CreateOptions, 'image' | 'from' | keyof MakeOptions>,
    signal: AbortSignal | undefined,
  ): Promise<SandboxInfo> {
    const { network, key = newKey(), ...rest } = options
    const given = Object.entries({ ...rest, from, network: network && networkPolicy(network) }).filter(
      ([, value]) => value !== undefined,
    )
    const json: CreateSandboxRequest = { ...Object.fromEntries(given), key }
    return this.#connection.json(
      { method: 'POST', path: '/v1/sandboxes', json, signal, answerMs: CREATE_ANSWER_MS },
      true,
    )
  }

  /** Finds a sandbox. @throws `not_found/sandbox_not_found`. */
  async connect(idOrName: string): Promise<Sandbox> {
    const info = await this.get(idOrName).inspect()
    return new Sandbox(this.#connection, info.id)
  }

  /** A handle for a sandbox, without asking whether there is one: the first call tells. */
  get(idOrName: string): Sandbox {
    return new Sandbox(this.#connection, idOrName)
  }

  /** What there is. */
  async list(options: ListOptions = {}): Promise<SandboxInfo[]> {
    return (await this.listAll(options)).sandboxes
  }

  /** The same, with the registry files that could not be read and why. */
  listAll(
    options: ListOptions = {},
  ): Promise<{ sandboxes: SandboxInfo[]; skipped: { file: string; reason: string }[] }> {
    const labels = Object.entries(options.labels ?? {}).map(
      ([name, value]) => `label=${encodeURIComponent(`${name}=${value}`)}`,
    )
    const wanted = options.all ? [...labels, 'all=1'] : labels
    const search = wanted.length === 0 ? '' : `?${wanted.join('&')}`
    return this.#connection.json({ method: 'GET', path: `/v1/sandboxes${search}` }, true)
  }

  /** Ends a sandbox and deletes its files. */
  remove(idOrName: string): Promise<SandboxInfo> {
    return this.get(idOrName).remove()
  }
}
