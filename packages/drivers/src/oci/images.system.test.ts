import { copyFileSync, existsSync, lchownSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { describe, expect, type TestContext, test } from 'vitest'
import { eventually } from '../contract/subject.ts'
import type { Driver, SandboxSpec } from '../driver.ts'
import { addHostProgram } from '../testing/host-program.ts'
import type { OciSubject } from '../testing/oci-subject.ts'
import { openOci } from '../testing/open-oci.ts'
import { DEFAULT_UID_BASE } from './driver.ts'

const none = Progress.none()
const MUSL_LOADER = '/lib/ld-musl-x86_64.so.1'

describe('the runtime bundle starts', () => {
  let subject: OciSubject
  let driver: Driver
  const needsDriver = openOci((opened, its) => {
    subject = opened
    driver = its
  })

  const startsWith = async (
    context: TestContext,
    layers: () => string[],
    changes: Partial<SandboxSpec> = {},
  ): Promise<string> => {
    needsDriver(context)
    const spec = subject.spec(changes)
    spec.image.layers = layers()
    const { id } = await driver.create(spec, none)
    await eventually('the supervisor', () => {
      const log = readFileSync(join(subject.folder(id), 'init.log'), 'utf8')
      return log.includes('supervisor up') ? true : undefined
    })
    return id
  }
  const emptyLayer = (name: string): string => {
    const path = join(subject.workspace.path, name)
    mkdirSync(path, { mode: 0o755 })
    lchownSync(path, DEFAULT_UID_BASE, DEFAULT_UID_BASE)
    return path
  }

  test('in an image that holds only busybox', async (context) => {
    await startsWith(context, () => [subject.layer])
  })

  test('in an image that holds nothing at all', async (context) => {
    await startsWith(context, () => [emptyLayer('empty')])
  })

  test('with a read-only root', async (context) => {
    await startsWith(context, () => [subject.layer], { readOnlyRoot: true })
  })

  test('with a read-only root in an image that holds nothing at all', async (context) => {
    await startsWith(context, () => [emptyLayer('empty-too')], { readOnlyRoot: true })
  })

  test("beside another C library: the image's loader is musl's", async (context) => {
    if (!existsSync(MUSL_LOADER)) context.skip(`${MUSL_LOADER} is missing: apt-get install musl`)
    const id = await startsWith(context, () => {
      const layer = emptyLayer('musl')
      mkdirSync(join(layer, 'lib'))
      copyFileSync(MUSL_LOADER, join(layer, MUSL_LOADER))
      return [subject.layer, layer]
    })
    // Started without a program it tells its name: this is what a C library of the image answers.
    expect((await subject.inside(id, [MUSL_LOADER])).output).toContain('musl libc')
  })

  test('in an image with a C library of the same kind as its own', async (context) => {
    const id = await startsWith(context, () => {
      const layer = emptyLayer('glibc')
      addHostProgram(layer, '/usr/bin/id', '/usr/bin/id', DEFAULT_UID_BASE)
      return [layer]
    })
    expect((await subject.inside(id, ['/usr/bin/id', '-u'])).output).toBe('0\n')
  })

  test('over 128 layers, the upper ones before the lower', async (context) => {
    const id = await startsWith(context, () => {
      const layers = Array.from({ length: 127 }, (_, index) => emptyLayer(`layer-${index}`))
      for (const layer of layers) copyFileSync(import.meta.filename, join(layer, `in-${layers.indexOf(layer)}`))
      return [subject.layer, ...layers]
    })
    expect((await subject.inside(id, ['sh', '-c', 'ls /in-* | grep -c .'])).output).toBe('127\n')
  })
})
