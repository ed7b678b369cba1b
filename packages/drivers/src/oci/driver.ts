import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'
import type { Driver } from '../driver.ts'
import { HostDriver } from '../lifecycle/host-driver.ts'
import type { CgroupLayout, SandboxCgroups } from './cgroups/cgroups.ts'
import { detectCgroups } from './cgroups/detect.ts'
import { CgroupsV1 } from './cgroups/v1.ts'
import { CgroupsV2 } from './cgroups/v2.ts'
import { ID_RANGE } from './config.ts'
import { OciEngine } from './engine.ts'
import { probeOci } from './probe.ts'
import { Runc } from './runc.ts'
import { OciSaves } from './saves.ts'

/**
 * First host uid and gid of the sandboxes' range. Above what distributions hand to users in /etc/subuid (100000 on), below what
 * systemd-nspawn picks from (524288 × n is possible, but 1000000 is no multiple of 65536).
 */
export const DEFAULT_UID_BASE = 1_000_000

export interface OciDriverOptions {
  /** `COPPICE_HOME`, absolute: sandboxes live in `<home>/drivers/oci`, their cgroups under `/coppice/<8 hex of its SHA-256>`. */
  home: string
  /** See `DEFAULT_UID_BASE`. 0: no user namespace; root inside is root outside, without setuid and new privileges. */
  uidBase?: number
  /** Name or path of runc. */
  runc?: string
  /** Milliseconds between two looks at the inits. */
  pollMs?: number
}

/** The driver that runs sandboxes with runc and overlayfs, without a daemon. Throws `unavailable/no_cgroups`. */
export function createOciDriver(options: OciDriverOptions): Driver {
  const uidBase = options.uidBase ?? DEFAULT_UID_BASE
  if (!Number.isInteger(uidBase) || (uidBase !== 0 && uidBase < ID_RANGE) || uidBase > 2 ** 32 - 2 * ID_RANGE) {
    throw new CoppiceError(
      'invalid_argument',
      'bad_uid_base',
      `uidBase ${uidBase} is neither 0 nor a free range of ${ID_RANGE} ids.`,
    )
  }
  const root = join(options.home, 'drivers', 'oci')
  const runc = new Runc(options.runc)
  const cgroups = sandboxCgroups(detectCgroups(), options.home)
  return new HostDriver({
    name: 'oci',
    capabilities: {
      isolation: 'namespaces',
      checkpoint: 'filesystem',
      resize: true,
      limits: true,
      readOnlyRoot: true,
      network: 'session',
    },
    uidBase,
    root,
    engine: new OciEngine(cgroups, runc, uidBase, new OciSaves(root, cgroups, uidBase)),
    probe: (progress) => probeOci({ root, uidBase, cgroups, runc }, progress),
    ...(options.pollMs === undefined ? {} : { pollMs: options.pollMs }),
  })
}

function sandboxCgroups(layout: CgroupLayout, home: string): SandboxCgroups {
  const group = `/coppice/${createHash('sha256').update(home).digest('hex').slice(0, 8)}`
  return layout.version === 1 ? new CgroupsV1(layout.controllers, group) : new CgroupsV2(layout.mount, group)
}
