import { access } from 'node:fs/promises'
import { homeAt } from '@coppice/protocol/home'
import { CoppiceError } from '@coppice/protocol/wire'
import type { EffectsOptions } from './effects.ts'
import { findGateway } from './gateway-state.ts'
import { type HeldLock, takeLock } from './home-lock.ts'
import { Sightings } from './leaks/sightings.ts'
import type { DoctorOptions } from './options.ts'
import { detectAll, type Report, repairAll, type Surroundings } from './runner.ts'

export type Dealings = Pick<EffectsOptions, 'consent'> & Pick<EffectsOptions, 'onEffect'>

/**
 * Looks, and with `fix` repairs and looks again. Without `fix`, and in a dry run, nothing of the home is written, no lock taken.
 *
 * @throws `conflict/doctor_running` when another doctor repairs this home
 */
export async function examine(options: DoctorOptions, dealings: Dealings): Promise<Report> {
  const home = homeAt(options.home)
  const gateway = findGateway(home, process.env)
  const around: Surroundings = { home, env: process.env, gateway, sightings: new Sightings() }
  const found: Report = { checks: await detectAll(options.checks, around), effects: [] }
  const fixable = found.checks.some(({ findings }) => findings.some((finding) => finding.fixable))
  if (!options.fix || !fixable) return found
  const { dryRun } = options
  if (dryRun) {
    const exclusive = (await around.gateway).kind === 'none'
    return repairAll(options.checks, found.checks, around, { ...dealings, dryRun, exclusive })
  }
  const locks = await takeHome(home.dir, home.lock)
  try {
    return await repairAll(options.checks, found.checks, around, { ...dealings, dryRun, exclusive: locks.exclusive })
  } finally {
    for (const lock of locks.held) lock.release()
  }
}

/** One doctor at a time; and where no gateway runs, none may start while things are moved. */
async function takeHome(dir: string, gatewayLock: string): Promise<{ held: HeldLock[]; exclusive: boolean }> {
  const there = await access(dir).then(
    () => true,
    () => false,
  )
  if (!there) return { held: [], exclusive: true }
  const own = takeLock(dir, 'r')
  if (!own) {
    throw new CoppiceError('conflict', 'doctor_running', `Another doctor is repairing ${dir}.`, {
      hint: `fuser -v ${dir}`,
    })
  }
  const gateway = takeLock(gatewayLock, 'a')
  return gateway ? { held: [own, gateway], exclusive: true } : { held: [own], exclusive: false }
}
