/** What a sandbox is made from. */
export class Image {
  /** The reference in the gateway's store. */
  readonly ref: string

  private constructor(ref: string) {
    this.ref = ref
  }

  /** The image that `coppice image bootstrap` makes. */
  static base(): Image {
    return new Image('base')
  }

  /** An image of the gateway's store, as `coppice image ls` names it. */
  static ref(name: string): Image {
    return new Image(name)
  }
}
