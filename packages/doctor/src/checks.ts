import type { Check } from './check.ts'
import { missingResourcesCheck } from './drift/missing.ts'
import { orphanedResourcesCheck } from './drift/orphans.ts'
import { dockerCheck, podmanCheck } from './engines/engines.ts'
import { gatewayCheck } from './gateway/check.ts'
import { clockCheck } from './host/clock.ts'
import { networkToolsCheck } from './host/network-tools.ts'
import { openFilesCheck } from './host/open-files.ts'
import { baseImageCheck } from './images/base-image.ts'
import { leakedCgroupsCheck } from './leaks/cgroups.ts'
import { leakedMountsCheck } from './leaks/mounts.ts'
import { leakedNetworkNamespacesCheck } from './leaks/network-namespaces.ts'
import { leakedSocketFoldersCheck } from './leaks/socket-folders.ts'
import { legacyCheck } from './legacy/check.ts'
import { legacyLocksCheck } from './legacy/lock-check.ts'
import { LEGACY_KINDS } from './legacy/names.ts'
import { registryEntriesCheck } from './registry/entries.ts'
import { registryLeftoversCheck } from './registry/leftovers.ts'
import { bundleCheck } from './runtimes/bundle.ts'
import { cgroupsCheck } from './runtimes/cgroups.ts'
import { nodeCheck } from './runtimes/node.ts'
import { ociCheck } from './runtimes/oci.ts'
import { crunCheck, runscCheck } from './runtimes/other.ts'
import { overlayCheck } from './runtimes/overlay.ts'
import { userNamespacesCheck } from './runtimes/user-namespaces.ts'
import { configFileCheck } from './state/config-file.ts'
import { fileSystemCheck } from './state/file-system.ts'
import { stateFolderCheck } from './state/folder.ts'
import { roomCheck } from './state/room.ts'
import { scratchCheck } from './state/scratch.ts'
import { kvmCheck, qemuCheck } from './vm/checks.ts'

/**
 * Every check, in the order in which they are told and repaired. The order of repairs matters: damaged entries make room before
 * anything is registered, stale locks go before what they lock is moved, and sandboxes go before what they have left behind.
 */
export const CHECKS: readonly Check[] = [
  stateFolderCheck,
  roomCheck,
  fileSystemCheck,
  configFileCheck,
  scratchCheck,
  registryEntriesCheck,
  registryLeftoversCheck,
  legacyLocksCheck,
  ...LEGACY_KINDS.map(legacyCheck),
  missingResourcesCheck,
  orphanedResourcesCheck,
  leakedMountsCheck,
  leakedCgroupsCheck,
  leakedSocketFoldersCheck,
  leakedNetworkNamespacesCheck,
  nodeCheck,
  ociCheck,
  crunCheck,
  runscCheck,
  overlayCheck,
  userNamespacesCheck,
  cgroupsCheck,
  bundleCheck,
  dockerCheck,
  podmanCheck,
  qemuCheck,
  kvmCheck,
  baseImageCheck,
  openFilesCheck,
  clockCheck,
  networkToolsCheck,
  gatewayCheck,
]
