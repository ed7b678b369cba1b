/**
 * What programs say when they may not open another file: libc's text, the errno's name, Rust's number for it (24 on Linux
 * and macOS), Zig's error.
 */
const SIGNS = /\bEMFILE\b|Too many open files|\bos error 24\b|\bProcessFdQuotaExceeded\b/i

/** Longest sign, in characters: a sign may lie across two chunks of output. */
const LONGEST_SIGN = 24

/** True when a program's output says that it may not open another file. */
export function saysTooManyFiles(text: string): boolean {
  return SIGNS.test(text)
}

/** Looks for the signs in output of any length, in whatever pieces it comes. */
export class TooManyFilesDetector {
  #found = false
  #end = ''

  get found(): boolean {
    return this.#found
  }

  push(chunk: Buffer): void {
    if (this.#found) return
    // One byte is one character here: signs are ASCII, and nothing may depend on how pieces cut other characters.
    const text = this.#end + chunk.toString('latin1')
    this.#found = saysTooManyFiles(text)
    this.#end = text.slice(-LONGEST_SIGN - 1)
  }
}
