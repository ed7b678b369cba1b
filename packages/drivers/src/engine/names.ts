import { createHash } from 'node:crypto'
import type { ContainerInspection, ContainerSummary } from '@coppice/engines'

/** The label that says which sandbox a container is. */
export const SANDBOX_LABEL = 'coppice.sandbox'

const SAVED = 'saved-'

/** Names of one home's containers and images. Several homes may use one engine, and none touches what is not its own. */
export class Names {
  readonly #hash: string

  constructor(home: string) {
    this.#hash = createHash('sha256').update(home).digest('hex').slice(0, 8)
  }

  container(id: string): string {
    return `coppice-${this.#hash}-${id}`
  }

  /** The sandbox whose container it is, by its name. Undefined for everybody else's. */
  sandbox(containerName: string): string | undefined {
    const name = containerName.replace(/^\//, '')
    const prefix = this.container('')
    return name.startsWith(prefix) ? name.slice(prefix.length) : undefined
  }

  /** The sandbox whose container it is, by name and label: both must say the same. */
  owner(container: ContainerSummary | ContainerInspection): string | undefined {
    const [names, labels] =
      'Names' in container ? [container.Names, container.Labels] : [[container.Name], container.Config.Labels]
    for (const name of names) {
      const id = this.sandbox(name)
      if (id !== undefined && labels?.[SANDBOX_LABEL] === id) return id
    }
    return undefined
  }

  /** The name under which an engine keeps an image for us. */
  image(imageId: string): string {
    return `${this.repository}:${imageId.replace('sha256:', '').slice(0, 24)}`
  }

  /** Of all names of our images. */
  get repository(): string {
    return `coppice.local/${this.#hash}`
  }

  /** The tag of an image that holds the files of a sandbox while they are saved. `suffix` tells two of one sandbox apart. */
  savedTag(id: string, suffix: string): string {
    return `${SAVED}${id}-${suffix}`
  }

  /** True for the name of such an image of this home. */
  isSaved(imageName: string): boolean {
    return imageName.startsWith(`${this.repository}:${SAVED}`)
  }

  /** The label of our images, and its value. */
  get imageLabel(): [string, string] {
    return ['coppice.images', this.#hash]
  }
}
