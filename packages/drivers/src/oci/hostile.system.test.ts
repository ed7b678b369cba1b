import { rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { describe, expect, type TestContext, test } from 'vitest'
import { Ends, eventually, makeInitFirstVictim } from '../contract/subject.ts'
import type { Driver } from '../driver.ts'
import type { OciSubject } from '../testing/oci-subject.ts'
import { openOci } from '../testing/open-oci.ts'
import { detectCgroups } from './cgroups/detect.ts'

const none = Progress.none()

/** Where a sandbox can freeze processes of its own: folder, file, and what to write. */
const freezer = () =>
  detectCgroups().version === 1
    ? { dir: '/.coppice-cgroup/freezer', file: 'freezer.state', value: 'FROZEN' }
    : { dir: '/.coppice-cgroup', file: 'cgroup.freeze', value: '1' }

describe('a sandbox that does not want to go', () => {
  let subject: OciSubject
  let driver: Driver
  const needsDriver = openOci((opened, its) => {
    subject = opened
    driver = its
  })

  const create = async (context: TestContext): Promise<string> => {
    needsDriver(context)
    return (await driver.create(subject.spec(), none)).id
  }
  const sh = (id: string, script: string): Promise<{ exitCode: number; output: string }> =>
    subject.inside(id, ['sh', '-c', script])

  const freezeOne = async (id: string): Promise<void> => {
    const { dir, file, value } = freezer()
    const script = `mkdir ${dir}/ice; sleep 1000 >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do :; done; echo $! > ${dir}/ice/cgroup.procs; echo ${value} > ${dir}/ice/${file}`
    expect(await sh(id, script)).toEqual({ exitCode: 0, output: '' })
  }

  test('is removed although a frozen process of it cannot die', async (context) => {
    const id = await create(context)
    await freezeOne(id)
    await driver.remove(id, none)
    expect(await subject.residue()).toEqual([])
  })

  test('is stopped although a frozen process of it cannot die', async (context) => {
    const id = await create(context)
    await freezeOne(id)
    await driver.stop(id, 0, none)
    expect(await driver.inspect(id)).toMatchObject({ state: 'stopped', end: { reason: 'stopped' } })
  })

  test('is removed with folders nested deeper than a path may be long', async (context) => {
    const id = await create(context)
    const { output } = await sh(
      id,
      'n=$(seq -s x 100); for i in $(seq 40); do mkdir $n && cd $n || break; done; cd /; echo done',
    )
    expect(output).toContain('done')
    await driver.remove(id, none)
    expect(await subject.residue()).toEqual([])
  })

  test('is removed with cgroups nested deeper than a path may be long', async (context) => {
    const id = await create(context)
    await sh(id, `cd ${freezer().dir}; n=$(seq -s x 80); for i in $(seq 30); do mkdir $n && cd $n || break; done`)
    await driver.remove(id, none)
    expect(await subject.residue()).toEqual([])
  })

  test('cannot fill the disk through its standard output', async (context) => {
    const id = await create(context)
    const watching = new Ends(driver)
    // Root inside cannot open the log, but what the init starts inherits it.
    const { pid } = (await driver.inspect(id)) as { pid: number }
    await eventually('the init', () => (statSync(`/proc/${pid}/fd/1`).isFile() ? true : undefined))
    expect((await sh(id, 'echo x > /proc/1/fd/1 || echo refused')).output).toContain('refused')
    writeFileSync(`/proc/${pid}/fd/1`, 'x'.repeat(3 * 1024 * 1024))
    const log = join(subject.folder(id), 'init.log')
    await eventually('the log to be cut', () => (statSync(log).size <= 1024 * 1024 ? true : undefined))
    expect((await driver.logs(id, 100)).length).toBe(100)
    watching.stop()
  })

  test('cannot make the host read a file of its choice', async (context) => {
    const id = await create(context)
    const secret = join(subject.workspace.path, 'secret')
    writeFileSync(secret, '{"exitCode":77} secret')
    const state = join(subject.folder(id), 'state')
    for (const name of ['exit', 'supervisor.log']) {
      rmSync(join(state, name), { force: true })
      symlinkSync(secret, join(state, name))
    }
    expect((await driver.logs(id, 4096)).toString()).not.toContain('secret')
    const { pid } = (await driver.inspect(id)) as { pid: number }
    const ends = new Ends(driver)
    process.kill(pid, 'SIGKILL')
    expect(await ends.of(id)).toMatchObject({ end: { reason: 'killed', exitCode: null } })
    ends.stop()
  })

  test('cannot make the host wait on a FIFO', async (context) => {
    const id = await create(context)
    await sh(id, 'cd /.coppice-state; rm -f exit supervisor.log; /.coppice/busybox mkfifo exit supervisor.log')
    expect(await driver.logs(id, 4096)).toBeInstanceOf(Buffer)
    await driver.stop(id, 0, none)
    expect(await driver.inspect(id)).toMatchObject({ end: { reason: 'stopped' } })
  })

  test('is explained when the kernel killed its init for memory', async (context) => {
    const id = await create(context)
    const ends = new Ends(driver)
    const { pid } = (await driver.inspect(id)) as { pid: number }
    await makeInitFirstVictim(pid)
    await sh(id, 'tail /dev/zero')
    expect(await ends.of(id)).toMatchObject({ end: { reason: 'oom_killed', exitCode: null } })
    expect(ends.told[0]?.use?.oomKills).toBeGreaterThan(0)
    ends.stop()
  })
})
