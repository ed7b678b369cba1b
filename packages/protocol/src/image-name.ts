import { CoppiceError } from './errors.ts'

const NAME = /^[A-Za-z0-9]([A-Za-z0-9._/@:+-]{0,253}[A-Za-z0-9])?$/

/** Whether an image can have this name. */
export function isImageName(name: string): boolean {
  return NAME.test(name) && !name.startsWith('sha256:')
}

/** Throws `invalid_argument/invalid_image_name`. */
export function checkImageName(name: string): string {
  if (!isImageName(name)) {
    throw new CoppiceError('invalid_argument', 'invalid_image_name', `"${name}" cannot be the name of an image.`, {
      hint: 'Use letters, digits and . _ / : @ + -, at most 255, for example my/app:1.',
    })
  }
  return name
}
