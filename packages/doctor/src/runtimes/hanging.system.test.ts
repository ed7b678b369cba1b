import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { doctor, makeHome, plant } from '../testing/home.ts'

// Each waits for as long as the doctor is patient, and has a home of its own: at the same time.
describe.concurrent('runtimes', () => {
  it('that hang are given up, and say so', async () => {
    const home = makeHome()
    plant(home, 'bin/podman', '#!/bin/sh\nexec sleep 98765.4\n', 0o755)
    const env = { PATH: `${join(home, 'bin')}:${process.env.PATH}` }
    const run = await doctor(home, ['--only', 'engines/podman'], { env })
    expect(run.report.findings).toMatchObject([{ severity: 'warning', message: expect.stringContaining('no answer') }])
    expect(spawnSync('pgrep', ['-f', 'sleep 98765\\.4']).stdout.toString()).toBe('')
  }, 60_000)

  it('KVM is never taken for working by its device', async (ctx) => {
    if (!existsSync('/dev/kvm')) return ctx.skip('this machine has no /dev/kvm')
    const home = makeHome()
    plant(
      home,
      'bin/qemu-system-x86_64',
      '#!/bin/sh\ncase $1 in --version) echo QEMU 1;; *) exec sleep 1000;; esac\n',
      0o755,
    )
    const kernel = plant(home, 'kernel', '')
    const env = { PATH: `${join(home, 'bin')}:${process.env.PATH}`, COPPICE_KERNEL: kernel }
    const run = await doctor(home, ['--only', 'vm/kvm'], { env })
    expect(run.report.findings).toMatchObject([
      { checkId: 'vm/kvm', severity: 'warning', message: expect.stringContaining('did not boot') },
    ])
  }, 60_000)
})
