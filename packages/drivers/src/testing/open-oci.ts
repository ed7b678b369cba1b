import { afterAll, afterEach, beforeAll, type TestContext } from 'vitest'
import type { Driver } from '../driver.ts'
import { OciSubject } from './oci-subject.ts'

/**
 * One oci driver for the tests of the suite that calls this: opened before the first, its sandboxes removed after each, closed after
 * the last.
 *
 * @param begin told what there is, once there is
 * @returns for each test to begin with: skips it, with the reason, where the driver does not work
 */
export function openOci(begin: (subject: OciSubject, driver: Driver) => void): (context: TestContext) => void {
  let subject: OciSubject | undefined
  let driver: Driver | undefined
  let unavailable: string | undefined
  beforeAll(async () => {
    const opened = await OciSubject.open()
    if ('unavailable' in opened) {
      unavailable = opened.unavailable
      return
    }
    subject = opened
    driver = opened.open()
    begin(subject, driver)
  })
  afterEach(() => subject?.removeAll())
  afterAll(async () => {
    await driver?.close()
    await subject?.close()
  })
  return (context) => {
    if (unavailable) context.skip(unavailable)
  }
}
