import { CoppiceError, isCheckpointId, parseRegistryReference } from '@coppice/protocol/wire'
import type { Checkpoints } from '../checkpoints.ts'
import type { Image, ImageSource } from '../image.ts'
import type { BuildWork } from '../image-events.ts'
import type { Images } from '../images.ts'
import { recogniseFrom } from './recognise.ts'

/** Where images are. */
export interface ImageSources {
  images: Images
  checkpoints: Checkpoints
}

/** What `image` or `from` was taken for. `image`: one of the store; `pull`: it was not there and was brought in. */
export interface Taken {
  as: 'build' | 'archive' | 'image' | 'checkpoint' | 'pull'
  /** The folder, file or reference as it was given; the id of a checkpoint. */
  source: string
  /** Of an archive: it was not sent, because the gateway has imported the same before. */
  known?: true
}

/** Who is told what happens until there is an image. */
export interface MakeOptions extends BuildWork {
  /** Told once what the image was taken for: a build and an archive before they are sent, a reference when it was found. */
  onTaken?: ((taken: Taken) => void) | undefined
}

/**
 * Brings about the image that is meant, and hands its reference to `use`. A reference that the gateway does not know is pulled
 * once and tried again; `base` is not, it is made by `bootstrap`.
 *
 * @param image undefined: the gateway's own default
 * @param use does what needs the image, and says what it came from in the end. Called again after a pull when it threw
 * `not_found/image_not_found`
 */
export async function withImage<T extends { image: string }>(
  { images, checkpoints }: ImageSources,
  image: Image | string | undefined,
  use: (ref: string | undefined) => Promise<T>,
  options: MakeOptions,
): Promise<T> {
  if (image === undefined) return use(undefined)
  const source: ImageSource = typeof image === 'string' ? recogniseFrom(image) : image.source
  const { onTaken, onProgress, onLog, signal } = options
  switch (source.kind) {
    case 'dockerfile': {
      onTaken?.({ as: 'build', source: source.folder })
      const built = await images.build(source.folder, { ...source.options, onProgress, onLog, signal })
      return use(built.name)
    }
    case 'archive': {
      const onKnown = (known: boolean) =>
        onTaken?.({ as: 'archive', source: source.place.path, ...(known && { known }) })
      const brought = await images.importPath(source.place, { ...source.options, onProgress, onKnown, signal })
      return use(brought.name)
    }
    case 'engine': {
      const { name } = await images.pull(source.source, { onProgress, signal })
      onTaken?.({ as: 'pull', source: source.source })
      return use(name)
    }
    case 'checkpoint': {
      const { id } = await checkpoints.get(source.idOrName)
      const made = await use(id)
      onTaken?.({ as: 'checkpoint', source: id })
      return made
    }
    case 'reference':
      return withReference(images, source.ref, use, options)
  }
}

async function withReference<T extends { image: string }>(
  images: Images,
  ref: string,
  use: (ref: string) => Promise<T>,
  options: MakeOptions,
): Promise<T> {
  const { onTaken, onProgress, signal } = options
  try {
    const made = await use(ref)
    onTaken?.(isCheckpointId(made.image) ? { as: 'checkpoint', source: made.image } : { as: 'image', source: ref })
    return made
  } catch (error) {
    const { code, reason } = CoppiceError.from(error)
    if (code !== 'not_found' || reason !== 'image_not_found' || !mayBePulled(ref)) throw error
  }
  onProgress?.({ message: `There is no image ${ref} in the store: pulling it` })
  const { name } = await images.pull(ref, { onProgress, signal }).catch((error: unknown) => {
    throw notPulled(ref, CoppiceError.from(error))
  })
  onTaken?.({ as: 'pull', source: ref })
  return use(name)
}

/** Nobody asked for a pull: what is wrong first is that the image is not there. */
function notPulled(ref: string, failure: CoppiceError): CoppiceError {
  if (failure.code === 'cancelled' || failure.code === 'deadline_exceeded') return failure
  return new CoppiceError(
    'not_found',
    'image_not_found',
    `There is no image ${ref} in the store, and it could not be pulled: ${failure.message}`,
    {
      facts: { image: ref, pull: failure.toBody() },
      retryable: failure.retryable,
      hint: 'coppice image ls',
      cause: failure,
    },
  )
}

/** False for what only the store can have: `base`, digests, names of builds, and what no registry would understand. */
function mayBePulled(ref: string): boolean {
  if (/^(base(:latest)?|sha256:.*|[0-9a-f]{12,64}|build\/[0-9a-f]{24})$/.test(ref)) return false
  try {
    parseRegistryReference(ref.replace(/^docker:\/\//, ''))
    return true
  } catch {
    return false
  }
}
