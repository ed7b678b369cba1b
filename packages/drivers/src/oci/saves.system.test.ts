import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, type TestContext, test } from 'vitest'
import { eventually } from '../contract/subject.ts'
import type { Driver, SandboxSpec, SavedFiles } from '../driver.ts'
import { OciSubject } from '../testing/oci-subject.ts'
import { detectCgroups } from './cgroups/detect.ts'

const none = Progress.none()

describe('a save of the oci driver', () => {
  let subject: OciSubject
  let unavailable: string | undefined
  let driver: Driver
  let spec: SandboxSpec
  beforeEach(async () => {
    const opened = await OciSubject.open()
    if ('unavailable' in opened) {
      unavailable = opened.unavailable
      return
    }
    subject = opened
    driver = subject.open()
    spec = subject.spec()
  })
  afterEach(async () => {
    await driver?.close()
    await subject?.close()
  })

  const running = async (context: TestContext, script = 'true'): Promise<number> => {
    if (unavailable) return context.skip(unavailable)
    const { pid } = await driver.create(spec, none)
    const { exitCode, output } = await subject.inside(spec.id, ['sh', '-c', script])
    expect([exitCode, output]).toEqual([0, ''])
    return pid as number
  }
  const save = (): Promise<SavedFiles> => (driver.saveFiles as NonNullable<Driver['saveFiles']>)(spec.id, none)
  const again = async (): Promise<number> => {
    const copy = subject.spec({ image: await subject.onTop(spec, await save()) })
    return (await driver.create(copy, none)).pid as number
  }
  const xattr = (pid: number, path: string) =>
    execFileSync('getfattr', [
      '--absolute-names',
      '--only-values',
      '-n',
      'user.note',
      `/proc/${pid}/root${path}`,
    ]).toString()

  test('keeps extended attributes and the mode of the root, and needs no room for holes', async (context) => {
    const pid = await running(context, 'truncate -s 3G /holes && chmod 751 / && touch /noted')
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'kept', `/proc/${pid}/root/noted`])
    const saved = await save()
    expect(saved.sizeBytes).toBeLessThan(1024 * 1024)
    const copy = subject.spec({ image: await subject.onTop(spec, saved) })
    const made = await driver.create(copy, none)
    expect(xattr(made.pid as number, '/noted')).toBe('kept')
    expect((await subject.inside(copy.id, ['sh', '-c', 'stat -c "%a %s" / /holes; du /holes'])).output).toMatch(
      /^751 \d+\n644 3221225472\n0\s/,
    )
  })

  test('leaves sockets out, and what programs hold locked or open in', async (context) => {
    const node = '/.coppice/ld.so --library-path /.coppice/lib /.coppice/coppice-supervisor --input-type=module -e'
    const program = "(await import('node:net')).createServer().listen('/socket', () => setTimeout(() => {}, 1e9))"
    await running(context, `exec 3>/open; echo held >&3; ${node} "${program}" > /dev/null 2>&1 & sleep 0.1`)
    await eventually('the socket', async () =>
      (await subject.inside(spec.id, ['sh', '-c', '[ -S /socket ]'])).exitCode === 0 ? true : undefined,
    )
    const pid = await again()
    expect(readFileSync(`/proc/${pid}/root/open`, 'utf8')).toBe('held\n')
    expect(execFileSync('ls', [`/proc/${pid}/root`], { encoding: 'utf8' })).not.toContain('socket')
  })

  test('deletes by names of any length and bytes', async (context) => {
    const names = ['x'.repeat(250), '\\377\\376\\n', 'ünï', `${'deep/'.repeat(30)}er`]
    await running(
      context,
      names.map((name) => `f="/d/$(printf '${name}')"; mkdir -p "$f" && touch "$f/in"`).join(' && '),
    )
    const second = subject.spec({ image: await subject.onTop(spec, await save()) })
    await driver.create(second, none)
    await subject.inside(second.id, ['sh', '-c', 'find /d -name in -exec rm {} + && mkdir /d/new'])
    spec = second
    const pid = await again()
    const left = execFileSync('find', [`/proc/${pid}/root/d`, '-name', 'in', '-o', '-name', 'new'], {
      encoding: 'utf8',
    })
    expect(left.trim().split('\n')).toEqual([expect.stringMatching(/new$/)])
  })

  test('refuses files whose names would delete others, and the sandbox goes on', async (context) => {
    await running(context, 'mkdir /d && touch /d/.wh.innocent')
    await expect(save()).rejects.toMatchObject({ code: 'failed_precondition', reason: 'reserved_name' })
    expect(await subject.savingResidue()).toEqual([])
    expect((await subject.inside(spec.id, ['echo', 'on'])).output).toBe('on\n')
  })

  test('for which there is no room is that error, and nothing is left', async (context) => {
    if (unavailable) context.skip(unavailable)
    const small = join(subject.workspace.path, 'home/drivers/oci', spec.id)
    await driver.create(spec, none)
    // Its folder gets a file system of its own, in which there is room for the files and not for a copy.
    await driver.stop(spec.id, 0, none)
    execFileSync('sh', ['-c', `cp -a ${small} ${small}.all && mount -t tmpfs -o size=20m,mode=710 tmpfs ${small}`])
    try {
      execFileSync('sh', ['-c', `cp -a ${small}.all/. ${small} && head -c 8000000 /dev/urandom > ${small}/upper/big`])
      const { bavail, bsize } = statfsSync(small)
      writeFileSync(join(small, 'filler'), Buffer.alloc(Math.max(0, bavail * bsize - 4_000_000)))
      await expect(save()).rejects.toMatchObject({ code: 'resource_exhausted', reason: 'disk_full' })
      expect(await subject.savingResidue()).toEqual([])
    } finally {
      execFileSync('sh', ['-c', `umount --lazy ${small}; rm -rf ${small}.all`])
    }
  })

  test('whose process is killed lets the sandbox go on when the next watches', async (context) => {
    await running(context, 'mkdir /many && cd /many && i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo > $i; done')
    const script = `
      import { createOciDriver } from ${JSON.stringify(join(import.meta.dirname, 'driver.ts'))}
      import { Progress } from '@coppice/protocol/wire'
      const driver = createOciDriver({ home: process.argv[1] })
      for (;;) await (await driver.saveFiles(process.argv[2], Progress.none())).dispose()`
    const args = ['--input-type=module', '-e', script, subject.workspace.home, spec.id]
    const child = spawn(process.execPath, args, { stdio: 'inherit', cwd: import.meta.dirname })
    await eventually('the freeze', () => isFrozen() || undefined, 20_000)
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    const next = subject.open()
    const stop = next.watch(() => {})
    expect(isFrozen()).toBe(false)
    expect((await subject.inside(spec.id, ['echo', 'on'])).output).toBe('on\n')
    expect((await subject.savingResidue()).filter((name) => name === 'saving.json')).toEqual([])
    await (await save()).dispose()
    expect(await subject.savingResidue()).toEqual([])
    stop()
    await next.close()
  })

  const isFrozen = (): boolean => {
    const layout = detectCgroups()
    const mount = layout.version === 1 ? layout.controllers.get('freezer') : layout.mount
    const group = subject.groups().find((path) => path.startsWith(`${mount}/coppice/`) && path.endsWith(`/${spec.id}`))
    const [file, still] = layout.version === 1 ? ['freezer.state', 'FROZEN'] : ['cgroup.events', 'frozen 1']
    return readFileSync(`${group}/${file}`, 'utf8').includes(still)
  }
})
