import { homeAt } from '@coppice/protocol/home'
import { CoppiceError } from '@coppice/protocol/wire'
import { type Check, finding } from '../check.ts'
import { readConfig } from '../config.ts'
import { removeHomeGroups } from '../host/cgroups.ts'
import { inTrialFolder } from './trial.ts'

/** The driver `oci`: runc, overlayfs, user namespace, cgroups and system call filter, all at once, as a sandbox uses them. */
export const ociCheck: Check = {
  id: 'runtimes/runc',
  limitMs: 30_000,
  async detect({ home, env, progress, note }) {
    const config = await readConfig(home.config)
    try {
      const probe = await inTrialFolder(async (folder) => {
        // Loaded here, so that what is wrong with it is a finding of this check alone.
        const { createOciDriver } = await import('@coppice/drivers')
        const driver = createOciDriver({ home: folder, ...config.uidBase })
        try {
          return await driver.probe(progress)
        } finally {
          await driver.close()
          await removeHomeGroups(homeAt(folder).hash)
        }
      })
      if (probe.available) {
        note(`Sandboxes run: ${probe.detail}`)
        return []
      }
      return [
        finding(
          severity(env, config.driver),
          `Sandboxes of the driver oci do not run here: ${words(probe.detail)}`,
          hintFor(probe.detail),
        ),
      ]
    } catch (error) {
      const { message, hint } = CoppiceError.from(error)
      return [finding('error', `Sandboxes of the driver oci do not run here: ${message}`, hint ?? hintFor(message))]
    }
  },
}

/** Another driver was chosen: then this one is not needed. */
function severity(env: NodeJS.ProcessEnv, configured: string | undefined): 'error' | 'warning' {
  const chosen = env.COPPICE_DRIVER ?? configured ?? 'oci'
  return chosen === 'oci' ? 'error' : 'warning'
}

/** The driver's hint for its callers would lead back here. */
function words(detail: string): string {
  return detail.replace(' (coppice doctor)', '')
}

function hintFor(detail: string): string {
  if (/needs root/.test(detail)) return 'sudo coppice gateway start'
  if (/runc could not be started/.test(detail)) return 'apt-get install runc'
  const [, install] = /(apt-get install [\w.-]+)/.exec(detail) ?? []
  if (install) return install
  const [, chmod] = /(chmod o\+x \S+?)\.?$/.exec(detail) ?? []
  if (chmod) return chmod
  if (/overlay|root file system/.test(detail)) return 'modprobe overlay'
  return 'dmesg | tail -n 20'
}
