import { CoppiceError, type CreateOptions } from '@coppice/sdk'
import type { Command } from 'commander'
import { addNetworkOptions, type NetworkFlags, networkOption } from './network-options.ts'
import { parseCount, parseMemory, parseNumber, parsePair } from './parse.ts'
import { unsupported } from './unsupported.ts'

/** The options of `create` and `run` as commander gives them. */
export interface CreateFlags extends NetworkFlags {
  from?: string
  name?: string
  driver?: string
  memory?: number
  cpus?: number
  pids?: number
  env?: Record<string, string>
  label?: Record<string, string>
  readOnly?: boolean
  ttl?: string
  key?: string
}

/** Options that `create` and `run` share, but for `--env`. */
export function addCreateOptions(command: Command): Command {
  command
    .option('--from <image>', 'an image, a checkpoint, a folder with a Dockerfile, or an archive (default: base)')
    .option('--name <name>', 'a name to call it by, unique among sandboxes')
    .option('--driver <driver>', 'what makes it (default: COPPICE_DRIVER, else the first that works)')
    .option('--memory <mib>', 'memory in MiB, or like 2g (default: 1024)', parseMemory)
    .option('--cpus <count>', 'cores, fractions allowed (default: 1)', parseNumber)
    .option('--pids <count>', 'processes and threads together (default: 4096)', parseCount)
    .option('--label <name=value>', 'a label to find it by (repeatable)', parsePair)
    .option('--read-only', 'nothing can write to its root file system')
    .option('--ttl <time>', 'not in this release')
  return addNetworkOptions(command)
}

/** @throws `unsupported` for what a later release brings. */
export function createOptions(flags: CreateFlags): CreateOptions {
  const { from, name, memory, cpus, pids, env, label, readOnly, ttl, key } = flags
  if (ttl !== undefined) throw unsupported('ttl', 'Ending a sandbox after a time (--ttl)', 'coppice rm SANDBOX')
  if (from === '') throw new CoppiceError('invalid_argument', 'usage', '--from needs the name of an image.')
  const driver = flags.driver ?? process.env.COPPICE_DRIVER
  return {
    from,
    name,
    driver: driver || undefined,
    memoryMB: memory,
    cpus,
    pids,
    env,
    labels: label,
    readOnlyRoot: readOnly,
    network: networkOption(flags),
    key,
  }
}
