import { execFileSync } from 'node:child_process'
import { lchownSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { describe, expect, type TestContext, test } from 'vitest'
import { eventually } from '../contract/subject.ts'
import type { Driver, SandboxSpec } from '../driver.ts'
import type { OciSubject } from '../testing/oci-subject.ts'
import { openOci } from '../testing/open-oci.ts'
import { DEFAULT_UID_BASE } from './driver.ts'

const none = Progress.none()

describe('a sandbox from an image', () => {
  let subject: OciSubject
  let driver: Driver
  const needsDriver = openOci((opened, its) => {
    subject = opened
    driver = its
  })

  /** With a FIFO at this path. */
  const specWith = (context: TestContext, name: string, fifo: string): SandboxSpec => {
    needsDriver(context)
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
