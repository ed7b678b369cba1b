import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Reserve } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { errnoOf, withStoreFaults } from '../faults.ts'
import { replaceFile } from './durable.ts'
import { type Descriptor, type Index, MediaType, parseIndex, REF_NAME } from './schemas.ts'

/**
 * The store's `index.json`: which images there are, and under which names. An image that lost its name (because the name
 * was given to another one) stays in it without a name until nobody uses it.
 *
 * Changes are made one after the other inside this process; the gateway is the only process that writes to a store.
 */
export class IndexFile {
  readonly #path: string
  readonly #reserve: Reserve | undefined
  #last: Promise<unknown> = Promise.resolve()

  private constructor(path: string, reserve: Reserve | undefined) {
    this.#path = path
    this.#reserve = reserve
  }

  /** Makes a folder an OCI layout, unless it is one. Throws `failed_precondition/index_unreadable` for a damaged index. */
  static async open(layoutDir: string, reserve?: Reserve): Promise<IndexFile> {
    const file = new IndexFile(join(layoutDir, 'index.json'), reserve)
    const marker = join(layoutDir, 'oci-layout')
    await withStoreFaults(marker, () => createOnce(marker, '{"imageLayoutVersion":"1.0.0"}'))
    await withStoreFaults(file.#path, () => createOnce(file.#path, file.#encode([])))
    await file.read()
    return file
  }

  async read(): Promise<Descriptor[]> {
    const bytes = await withStoreFaults(this.#path, () => readFile(this.#path))
    try {
      return parseIndex(bytes, this.#path).manifests
    } catch (cause) {
      throw new CoppiceError(
        'failed_precondition',
        'index_unreadable',
        `${this.#path} is damaged; it was left as it is.`,
        {
          cause,
          facts: { path: this.#path },
        },
      )
    }
  }

  /** Runs `change` on the current list and puts what it returns in its place, unless it returns undefined. */
  async change(
    change: (manifests: Descriptor[]) => Descriptor[] | undefined | Promise<Descriptor[] | undefined>,
  ): Promise<void> {
    const turn = this.#last.then(async () => {
      const before = await this.read()
      const next = await change(before)
      if (next) await withStoreFaults(this.#path, () => this.#replace(this.#encode(next), this.#encode(before).length))
    })
    this.#last = turn.catch(() => undefined)
    await turn
  }

  /** What makes the list shorter is mostly the beginning of making room, and has a reserve for itself. */
  async #replace(text: string, lengthBefore: number): Promise<void> {
    const replace = () => replaceFile(this.#path, text)
    await (this.#reserve && text.length < lengthBefore ? this.#reserve.lend(replace) : replace())
  }

  #encode(manifests: Descriptor[]): string {
    const index: Index = { schemaVersion: 2, mediaType: MediaType.index, manifests }
    return `${JSON.stringify(index, null, 2)}\n`
  }
}

async function createOnce(path: string, text: string): Promise<void> {
  try {
    await readFile(path)
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    await replaceFile(path, text)
  }
}

/** The name that an index gives an image. */
export function nameOf(descriptor: Descriptor): string | undefined {
  return descriptor.annotations?.[REF_NAME]
}

/** The descriptor under another name, or under none. */
export function withName(descriptor: Descriptor, name: string | undefined): Descriptor {
  const { [REF_NAME]: _dropped, ...annotations } = descriptor.annotations ?? {}
  return { ...descriptor, annotations: name === undefined ? annotations : { ...annotations, [REF_NAME]: name } }
}
