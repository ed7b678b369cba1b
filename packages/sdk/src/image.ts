import type { BuildOptions } from './context/build.ts'
import type { ArchivePlace, FromText } from './from/recognise.ts'
import type { ImportOptions } from './images.ts'

/** How the image of an archive is chosen and called. */
export type ArchiveOptions = Pick<ImportOptions, 'name' | 'ref' | 'platform' | 'format'>

/** How a folder is built. */
export type DockerfileOptions = Pick<
  BuildOptions,
  'name' | 'dockerfile' | 'target' | 'buildArgs' | 'noCache' | 'secrets'
>

/** Where an image comes from. */
export type ImageSource =
  | Exclude<FromText, { kind: 'dockerfile' | 'archive' }>
  | { kind: 'dockerfile'; folder: string; options?: DockerfileOptions }
  | { kind: 'archive'; place: ArchivePlace; options?: ArchiveOptions }
  | { kind: 'checkpoint'; idOrName: string }

/** What a sandbox is made from. Nothing is read, built or pulled before a sandbox is created from it. */
export class Image {
  readonly source: ImageSource

  private constructor(source: ImageSource) {
    this.source = source
  }

  /** The image that `coppice image bootstrap` makes. */
  static base(): Image {
    return Image.ref('base')
  }

  /** An image of the gateway's store, as `coppice image ls` names it; one that is not there is pulled from its registry. */
  static ref(name: string): Image {
    return new Image({ kind: 'reference', ref: name })
  }

  /** A checkpoint, by id or name, also where an image has that name. */
  static checkpoint(idOrName: string): Image {
    return new Image({ kind: 'checkpoint', idOrName })
  }

  /** A local archive, by its content: an OCI archive, what `docker save` writes, a root file system; or an OCI layout's folder. */
  static archive(path: string, options: ArchiveOptions = {}): Image {
    return new Image({ kind: 'archive', place: { kind: 'file', path }, options })
  }

  /** A local folder with a Dockerfile: built when a sandbox is created, once for each content. */
  static dockerfile(folder: string, options: DockerfileOptions = {}): Image {
    return new Image({ kind: 'dockerfile', folder, options })
  }
}
