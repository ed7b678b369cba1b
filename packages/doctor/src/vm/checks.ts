import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import { arch } from 'node:os'
import { type Check, finding } from '../check.ts'
import { firstLine, lastLine, run } from '../host/command.ts'
import { inTrialFolder } from '../runtimes/trial.ts'
import { bootKernel, bootSector, QEMU, QEMU_PACKAGE, SECTOR_EXIT } from './boot.ts'
import { findKernel } from './kernels.ts'

const KVM = '/dev/kvm'

/** A stock kernel is up in about a second with KVM, milliseconds. */
const KVM_LIMIT_MS = 15_000

/** QEMU, where it is installed, by booting 512 bytes. */
export const qemuCheck: Check = {
  id: 'vm/qemu',
  limitMs: 30_000,
  async detect({ progress, note }) {
    const version = await run(QEMU, ['--version'], progress)
    if (!version) {
      note(`${QEMU} is not installed; it is not needed.`)
      return []
    }
    if (arch() !== 'x64') {
      return [finding('unverified', `${firstLine(version.text)} was not tried on ${arch()}.`, `${QEMU} -M help`)]
    }
    const ran = await inTrialFolder((folder) => bootSector(folder, progress.within(20_000)))
    if (ran?.exitCode === SECTOR_EXIT) {
      note(`${firstLine(version.text)} boots.`)
      return []
    }
    const why = ran?.exitCode === null ? 'it did not boot in 20 s' : lastLine(ran?.text ?? '')
    return [
      finding(
        'warning',
        `${QEMU} is installed and does not work: ${why}`,
        `apt-get install --reinstall ${QEMU_PACKAGE}`,
      ),
    ]
  },
}

/** KVM, by booting a kernel with it. That its device is there, and even opens, says nothing. */
export const kvmCheck: Check = {
  id: 'vm/kvm',
  limitMs: KVM_LIMIT_MS + 10_000,
  async detect({ env, progress, note }) {
    const there = await access(KVM).then(
      () => true,
      () => false,
    )
    if (!there) {
      note(`There is no ${KVM}: virtual machines would be emulated.`)
      return []
    }
    const at = { path: KVM }
    const usable = await access(KVM, constants.R_OK | constants.W_OK).then(
      () => true,
      () => false,
    )
    if (!usable) return [finding('warning', `This user may not use ${KVM}.`, 'sudo usermod -aG kvm "$USER"', at)]
    if (!(await run(QEMU, ['--version'], progress))) {
      const message = `${KVM} is there; whether it works was not tried, because ${QEMU} is not installed.`
      return [finding('unverified', message, `apt-get install ${QEMU_PACKAGE}`, at)]
    }
    const kernel = await findKernel(env)
    if (kernel === undefined) {
      const message = `${KVM} is there; whether it works was not tried, because no kernel to boot is at hand.`
      return [finding('unverified', message, 'apt-get install linux-image-cloud-amd64', at)]
    }
    const { up, hung, text } = await bootKernel(kernel, KVM_LIMIT_MS, progress)
    if (up) {
      note(`KVM boots ${kernel}.`)
      return []
    }
    const got = lastLine(text)
    const end = hung ? `gave up after ${KVM_LIMIT_MS / 1000} s` : 'QEMU ended'
    const message = `KVM cannot be used: it did not boot ${kernel} (${end}${got === '' ? '' : `; the last it said was: ${got}`}).`
    return [finding('warning', message, 'dmesg | grep -i kvm', at)]
  },
}
