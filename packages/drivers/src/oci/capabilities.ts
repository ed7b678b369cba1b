import type { OciCapabilities } from './oci-types.ts'

/** What root keeps in a sandbox: Docker's default set. `sudo`, package managers, `ping` and `chroot` need nothing else. */
const KEPT = [
  'CAP_AUDIT_WRITE',
  'CAP_CHOWN',
  'CAP_DAC_OVERRIDE',
  'CAP_FOWNER',
  'CAP_FSETID',
  'CAP_KILL',
  'CAP_MKNOD',
  'CAP_NET_BIND_SERVICE',
  'CAP_NET_RAW',
  'CAP_SETFCAP',
  'CAP_SETGID',
  'CAP_SETPCAP',
  'CAP_SETUID',
  'CAP_SYS_CHROOT',
]

/**
 * Capabilities of the init. They hold in the sandbox's own user namespace only. Nothing is inheritable or ambient: a program
 * that drops to another user has no capability left (CVE-2022-24769).
 */
export function sandboxCapabilities(): OciCapabilities {
  return { bounding: KEPT, effective: KEPT, permitted: KEPT, inheritable: [], ambient: [] }
}
