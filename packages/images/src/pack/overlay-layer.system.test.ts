import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, type TestContext, test } from 'vitest'
import { packOverlay } from './overlay-layer.ts'

const none = Progress.none()

describe("an overlay's upper folder", () => {
  let dir: string
  let upper: string
  let scratch: string
  let output: FileHandle
  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'coppice-pack-'))
    upper = join(dir, 'upper')
    scratch = join(dir, 'scratch')
    for (const path of [upper, scratch]) mkdirSync(path)
    output = await open(join(dir, 'layer.tar'), 'wx+')
  })
  afterEach(async () => {
    await output.close()
    rmSync(dir, { recursive: true })
  })

  const pack = () => packOverlay(upper, output.fd, { uidBase: 0, leaveOut: [], scratch }, none)
  const needsRoot = (context: TestContext) => {
    if (process.getuid?.() !== 0) context.skip('only root can read how an overlay deletes')
  }
  /** Gives the scratch folder a file system with room for so many pages. */
  const withRoom = async (pages: number, work: () => Promise<void>) => {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', scratch])
    try {
      const { bavail, bsize } = statfsSync(scratch)
      writeFileSync(join(scratch, 'filler'), Buffer.alloc((bavail - pages) * bsize))
      await work()
    } finally {
      execFileSync('umount', ['--lazy', scratch])
    }
  }

  test.for([
    ['of what is in it', 0],
    // What is in it takes one page, which of it hides what is below three.
    ['of what hides what is below', 2],
  ] as const)('for whose list %s there is no room is not packed, and that is the error', async ([, pages], context) => {
    needsRoot(context)
    for (let i = 0; i < 200; i++) mkdirSync(join(upper, `d${i}`))
    execFileSync('sh', ['-c', 'setfattr -n trusted.overlay.opaque -v y d*'], { cwd: upper })
    await withRoom(pages, async () => {
      await expect(pack()).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'disk_full' })
    })
    await expect(pack()).resolves.toBeGreaterThan(0)
  })

  test('with a path that is too long for the kernel is refused by a sentence that says so, whatever lies below it', async (context) => {
    needsRoot(context)
    const deeper = 'for i in $(seq 60); do mkdir $0 && cd -P $0 || exit 1; done 2> /dev/null'
    execFileSync('bash', ['-c', deeper, 'x'.repeat(100)], { cwd: upper })
    await expect(pack()).rejects.toMatchObject({ code: 'failed_precondition', reason: 'path_too_long' })
  })

  test('is packed with paths as long as the kernel takes', async (context) => {
    needsRoot(context)
    const names = Array.from({ length: 40 }, () => 'x'.repeat(100))
    execFileSync('mkdir', ['-p', names.join('/')], { cwd: upper })
    await expect(pack()).resolves.toBeGreaterThan(0)
  })
})
