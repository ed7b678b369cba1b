import { execFileSync } from 'node:child_process'
import { lchownSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { eventually } from '../contract/subject.ts'
import type { Driver, SandboxSpec } from '../driver.ts'
import { OciSubject } from '../testing/oci-subject.ts'
import { DEFAULT_UID_BASE } from './driver.ts'

const none = Progress.none()

describe('a sandbox from an image', () => {
  let subject: OciSubject
  let unavailable: string | undefined
  let driver: Driver

  beforeAll(async () => {
    const opened = await OciSubject.open()
    if ('unavailable' in opened) unavailable = opened.unavailable
    else {
      subject = opened
      driver = subject.open()
    }
  })
  afterEach(() => subject?.removeAll())
  afterAll(async () => {
    await driver?.close()
    await subject?.close()
  })

  /** With a FIFO at this path. */
  const specWith = (context: TestContext, name: string, fifo: string): SandboxSpec => {
    if (unavailable) context.skip(unavailable)
    const layer = join(subject.workspace.path, name)
    const etc = join(layer, 'etc')
    mkdirSync(etc, { recursive: true })
    execFileSync('mkfifo', [join(layer, fifo)])
    for (const path of [layer, etc, join(layer, fifo)]) lchownSync(path, DEFAULT_UID_BASE, DEFAULT_UID_BASE)
    const spec = subject.spec()
    spec.image.layers = [layer]
    return spec
  }

  test('whose accounts lead to a FIFO is refused at once, and nothing of it stays', async (context) => {
    const spec = specWith(context, 'accounts', 'pipe')
    symlinkSync('../pipe', join(subject.workspace.path, 'accounts', 'etc/passwd'))
    await expect(driver.create(spec, none)).rejects.toMatchObject({
      code: 'failed_precondition',
      reason: 'accounts_unreadable',
    })
    expect(await subject.residue()).toEqual([])
  })

  test('whose order of name services is a FIFO starts: nothing on the way reads it', async (context) => {
    const { id } = await driver.create(specWith(context, 'services', 'etc/nsswitch.conf'), none)
    const log = join(subject.folder(id), 'init.log')
    await eventually('the supervisor', () => (readFileSync(log, 'utf8').includes('supervisor up') ? true : undefined))
  })
})
