import type { OciSeccomp, OciSyscallRule } from './oci-types.ts'
import { ALLOWED_SYSCALLS } from './syscalls.ts'

const EPERM = 1
const ENOSYS = 38

/** Every `CLONE_NEW*` flag that clone(2) takes: namespaces are the host's walls, and their code is a kernel's largest attack surface. */
const NAMESPACE_FLAGS = 0x7e02_0000

/** Address families from 38 on: AF_ALG, AF_NFC, AF_VSOCK (reaches the hypervisor), AF_KCM, AF_SMC, AF_XDP. */
const FIRST_REFUSED_FAMILY = 38

/** personality(2) values that change only how the caller itself is laid out: Linux, Linux32, their UNAME26 forms, query, no ASLR (debuggers). */
const PERSONALITIES = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff, 0x4_0000, 0x4_0008]

const ARCHITECTURES: Record<string, string[]> = {
  x64: ['SCMP_ARCH_X86_64', 'SCMP_ARCH_X86'],
  arm64: ['SCMP_ARCH_AARCH64', 'SCMP_ARCH_ARM'],
}

const NATIVE_SYSCALLS: Record<string, string[]> = {
  x64: ['arch_prctl', 'modify_ldt'],
  arm64: ['arm_fadvise64_64', 'arm_sync_file_range', 'sync_file_range2', 'breakpoint', 'cacheflush', 'set_tls'],
}

/**
 * The system calls of a sandbox: a list of what is allowed, in the manner of Docker's and Podman's default profiles. Everything
 * else gets EPERM. What is absent on purpose: mount and its family, unshare and setns, keyrings (not separated by namespaces),
 * bpf, perf_event_open, userfaultfd, io_uring (most kernel escapes of recent years), module and kexec loading, swap, reboot, time
 * setting, quota, open_by_handle_at, fanotify, process accounting.
 */
export function sandboxSeccomp(arch: string = process.arch): OciSeccomp {
  const rules: OciSyscallRule[] = [
    { names: [...ALLOWED_SYSCALLS, ...(NATIVE_SYSCALLS[arch] ?? [])], action: 'SCMP_ACT_ALLOW' },
    {
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: NAMESPACE_FLAGS, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
    },
    // Its flags lie behind a pointer, where a filter cannot look. ENOSYS makes C libraries fall back to clone.
    { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
    {
      names: ['socket'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: FIRST_REFUSED_FAMILY, op: 'SCMP_CMP_LT' }],
    },
    ...PERSONALITIES.map(
      (value): OciSyscallRule => ({
        names: ['personality'],
        action: 'SCMP_ACT_ALLOW',
        args: [{ index: 0, value, op: 'SCMP_CMP_EQ' }],
      }),
    ),
  ]
  return {
    defaultAction: 'SCMP_ACT_ERRNO',
    defaultErrnoRet: EPERM,
    architectures: ARCHITECTURES[arch] ?? [],
    syscalls: rules,
  }
}
