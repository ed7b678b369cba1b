import type { Driver } from '@coppice/drivers'
import { CoppiceError, type ResolvedCreateSandbox } from '@coppice/protocol'
import type { SandboxRecord } from './record.ts'

/** @throws `unsupported` for what a driver cannot do, with the one that can */
export function requireCapabilities(driver: Driver, request: ResolvedCreateSandbox): void {
  if (request.readOnlyRoot && !driver.capabilities.readOnlyRoot) {
    throw new CoppiceError('unsupported', 'read_only_root', `The driver ${driver.name} has no read-only root.`, {
      hint: 'coppice create --driver oci',
    })
  }
  if (request.network.mode !== 'public' && driver.capabilities.network === 'host') {
    throw new CoppiceError(
      'unsupported',
      'host_network',
      `The driver ${driver.name} cannot hold a sandbox's network back.`,
      {
        hint: 'coppice create --driver oci',
      },
    )
  }
}

/** Why a call cannot reach it: its state, and how it ended. */
export function notRunning(record: SandboxRecord): CoppiceError {
  const why = record.end ? ` ${record.end.message}` : ''
  return new CoppiceError('failed_precondition', 'not_running', `Sandbox ${record.id} is ${record.state}.${why}`, {
    facts: { sandboxId: record.id, state: record.state, end: record.end },
    hint: record.state === 'stopped' ? `coppice start ${record.id}` : `coppice inspect ${record.id}`,
  })
}

/** @param verb what it cannot be in its state: `started` */
export function wrongState(record: SandboxRecord, verb: string): CoppiceError {
  return new CoppiceError(
    'failed_precondition',
    'wrong_state',
    `Sandbox ${record.id} is ${record.state} and cannot be ${verb}.`,
    {
      facts: { sandboxId: record.id, state: record.state },
      hint: `coppice inspect ${record.id}`,
    },
  )
}
