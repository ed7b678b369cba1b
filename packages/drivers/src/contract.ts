/**
 * The examination of a driver. Call it in a `*.system.test.ts`:
 *
 * ```ts
 * describeDriver('oci', () => openOciSubject())
 * ```
 *
 * What a driver does not declare in its capabilities is not asked; everything else is, and an exception needs a name here.
 */
import { afterAll, afterEach, beforeAll, describe } from 'vitest'
import { adoptionContract } from './contract/adoption.ts'
import { endContract } from './contract/end.ts'
import { interceptContract } from './contract/intercept.ts'
import { lifeCycleContract } from './contract/life-cycle.ts'
import { limitsContract } from './contract/limits.ts'
import { resizeContract } from './contract/resize.ts'
import { saveFilesContract } from './contract/save-files.ts'
import type { Examination, Subject } from './contract/subject.ts'

export type { Subject } from './contract/subject.ts'

/** Declares the tests of the driver contract for one driver. `open` may say why it cannot be examined here: then nothing runs. */
export function describeDriver(name: string, open: () => Promise<Subject | { unavailable: string }>): void {
  describe(`driver contract: ${name}`, () => {
    const examination: Examination = { subject: undefined, unavailable: 'it was not opened' }

    beforeAll(async () => {
      const opened = await open()
      if ('unavailable' in opened) examination.unavailable = opened.unavailable
      else examination.subject = opened
    })
    afterEach(async () => {
      await examination.subject?.removeAll()
    })
    afterAll(async () => {
      await examination.subject?.close()
    })

    describe('life cycle', () => lifeCycleContract(examination))
    describe('ends', () => endContract(examination))
    describe('adoption', () => adoptionContract(examination))
    describe('connections led to the supervisor', () => interceptContract(examination))
    describe('limits', () => limitsContract(examination))
    describe('other limits', () => resizeContract(examination))
    describe('saved files', () => saveFilesContract(examination))
  })
}
