import { describe, expect, it } from 'vitest'
import { saysTooManyFiles, TooManyFilesDetector } from './too-many-files.ts'

const SAYINGS = [
  "Error: EMFILE: too many open files, open '/x'",
  'cc1: fatal error: a.h: Too many open files',
  'error: could not compile: Os { code: 24, message: "Too many open files (os error 24)" }',
  'failed to spawn rustc (os error 24)',
  'error: ProcessFdQuotaExceeded',
  "OSError: [Errno 24] Too many open files: 'b'",
]

describe('output of a step that may not open another file', () => {
  it.each(SAYINGS)('is known: %s', (text) => {
    expect(saysTooManyFiles(text)).toBe(true)
  })

  it.each(['', 'no such file', 'os error 240', 'too many files open in the editor', 'SEMFILED', 'ENFILES'])(
    'is not seen in: %s',
    (text) => {
      expect(saysTooManyFiles(text)).toBe(false)
    },
  )

  it.each(SAYINGS)('is known wherever it is cut: %s', (text) => {
    const bytes = Buffer.from(`${'ä'.repeat(50)}${text} and so on`)
    for (let cut = 0; cut <= bytes.length; cut++) {
      const detector = new TooManyFilesDetector()
      detector.push(bytes.subarray(0, cut))
      detector.push(bytes.subarray(cut))
      expect(detector.found, `cut at ${cut}`).toBe(true)
    }
    const bytewise = new TooManyFilesDetector()
    for (const byte of bytes) bytewise.push(Buffer.from([byte]))
    expect(bytewise.found).toBe(true)
  })
})
