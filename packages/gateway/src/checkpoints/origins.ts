import type { ResolvedImage } from '@coppice/images'
import { CoppiceError, isCheckpointId } from '@coppice/protocol'
import type { Images } from '../images/images.ts'
import type { CheckpointDirectory } from './directory.ts'

/** What a sandbox is made from. */
export interface Origin {
  image: ResolvedImage
  /** Until this is called the image stays. */
  release: () => void
  /** As the sandbox's record says it: an image's reference as it was asked for, a checkpoint's id. */
  from: string
}

/**
 * Finds what sandboxes are made from: what has the form of a checkpoint's id is one; anything else is an image of the store, and
 * where there is none of that name, the checkpoint of that name.
 */
export class Origins {
  readonly #images: Pick<Images, 'acquire'>
  readonly #checkpoints: CheckpointDirectory

  constructor(images: Pick<Images, 'acquire'>, checkpoints: CheckpointDirectory) {
    this.#images = images
    this.#checkpoints = checkpoints
  }

  /** @throws `not_found/image_not_found`, `checkpoint_not_found` */
  async acquire(from: string): Promise<Origin> {
    if (isCheckpointId(from)) return this.#checkpoint(from)
    try {
      return { ...(await this.#images.acquire(from)), from }
    } catch (error) {
      if (CoppiceError.from(error).reason !== 'image_not_found' || !this.#checkpoints.byName(from)) throw error
      return this.#checkpoint(from)
    }
  }

  async #checkpoint(idOrName: string): Promise<Origin> {
    const { id, imageDigest } = this.#checkpoints.find(idOrName)
    return { ...(await this.#images.acquire(imageDigest)), from: id }
  }
}
