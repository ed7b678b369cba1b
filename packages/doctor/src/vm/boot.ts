import { writeFile } from 'node:fs/promises'
import { arch } from 'node:os'
import { join } from 'node:path'
import type { Progress } from '@coppice/protocol/wire'
import { type Ran, run } from '../host/command.ts'

/** The QEMU of this machine's own architecture. */
export const QEMU = arch() === 'arm64' ? 'qemu-system-aarch64' : 'qemu-system-x86_64'
/** Debian's package that has it. */
export const QEMU_PACKAGE = arch() === 'arm64' ? 'qemu-system-arm' : 'qemu-system-x86'

const COMMON = ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-m', '256', '-serial', 'stdio']

/** QEMU's exit status when the boot sector wrote 0x43 to the debug port: (0x43 << 1) | 1. */
export const SECTOR_EXIT = 0x43 * 2 + 1

/**
 * A boot sector that prints "C" on the first serial line and ends the machine: mov dx,0x3f8; mov al,0x43; out dx,al;
 * out 0xf4,al; hlt; jmp -3.
 */
const SECTOR = [0xba, 0xf8, 0x03, 0xb0, 0x43, 0xee, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd]

/** Boots that sector, emulated. x86 only. */
export async function bootSector(folder: string, progress: Progress): Promise<Ran | undefined> {
  const disk = Buffer.alloc(512)
  disk.set(SECTOR)
  disk.set([0x55, 0xaa], 510)
  const file = join(folder, 'sector.img')
  await writeFile(file, disk)
  const drive = `file=${file},format=raw,if=ide,readonly=off`
  const exit = ['-device', 'isa-debug-exit,iobase=0xf4,iosize=0x04']
  return run(QEMU, ['-accel', 'tcg', ...COMMON, '-drive', drive, ...exit], progress)
}

/** Said by a Linux kernel that has come up and looks for its init. There is none: it panics, which is success here. */
const KERNEL_UP = /Kernel panic - not syncing|VFS: Unable to mount root|Run \/\S+ as init process|No working init found/

/** Boots a Linux kernel with KVM until it looks for its init. True when it got there within the time. */
export async function bootKernel(
  kernel: string,
  limitMs: number,
  progress: Progress,
): Promise<{ up: boolean; hung: boolean; text: string }> {
  const machine = arch() === 'arm64' ? ['-M', 'virt'] : ['-M', 'q35']
  const console = arch() === 'arm64' ? 'ttyAMA0' : 'ttyS0'
  const args = ['-accel', 'kvm', '-cpu', 'host', ...machine, ...COMMON, '-kernel', kernel]
  const append = ['-append', `console=${console} earlyprintk=serial panic=-1 root=/dev/none`]
  const until = (text: string) => KERNEL_UP.test(text)
  const ran = await run(QEMU, [...args, ...append], progress, { limitMs, until })
  const text = ran?.text ?? ''
  return { up: KERNEL_UP.test(text), hung: ran?.exitCode === null, text }
}
