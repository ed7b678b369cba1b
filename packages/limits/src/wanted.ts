import { CoppiceError } from '@coppice/protocol/wire'

/** Below this many open files no build is begun: package managers and linkers of the field need about a thousand. */
export const LEAST_OPEN_FILES = 1024

/** Wanted unless configured. The default of the systems whose settings Coppice honours. */
const DEFAULT_WANTED = 8192

/** Where it is configured; the first that is set counts. */
const SETTINGS = ['COPPICE_BUILD_NOFILE_LIMIT', 'COPPICE_VM_BUILD_NOFILE_LIMIT']

/**
 * How many open files a build is to have: `COPPICE_BUILD_NOFILE_LIMIT`, else `COPPICE_VM_BUILD_NOFILE_LIMIT`, else 8192.
 * Throws `invalid_argument/invalid_nofile_limit` for a setting that is no whole number or is below 1024.
 */
export function wantedOpenFiles(env: NodeJS.ProcessEnv): number {
  const name = SETTINGS.find((setting) => env[setting] !== undefined)
  if (name === undefined) return DEFAULT_WANTED
  const value = env[name] ?? ''
  const wanted = /^[0-9]+$/.test(value) ? Number(value) : Number.NaN
  if (Number.isSafeInteger(wanted) && wanted >= LEAST_OPEN_FILES) return wanted
  throw new CoppiceError(
    'invalid_argument',
    'invalid_nofile_limit',
    `${name}="${value.slice(0, 40)}" is no number of open files from ${LEAST_OPEN_FILES} on.`,
    {
      facts: { setting: name, value: value.slice(0, 100), least: LEAST_OPEN_FILES },
      hint: `export ${name}=${DEFAULT_WANTED}`,
    },
  )
}
