import { LEAST_OPEN_FILES, limitText, readOpenFileLimit, wantedOpenFiles } from '@coppice/limits'
import { CoppiceError } from '@coppice/protocol/wire'
import { type Check, finding } from '../check.ts'

/** The limit of open files that everything started from here gets. */
export const openFilesCheck: Check = {
  id: 'host/open-files',
  async detect({ env, note }) {
    let wanted: number
    try {
      wanted = wantedOpenFiles(env)
    } catch (error) {
      const { message, hint } = CoppiceError.from(error)
      return [finding('error', message, hint ?? 'unset COPPICE_BUILD_NOFILE_LIMIT')]
    }
    const { soft, hard } = await readOpenFileLimit()
    note(`Open files: ${limitText(soft)}, at most ${limitText(hard)}; builds want ${wanted}.`)
    // The soft limit is raised for what needs it. Only the hard one is in the way.
    if (hard >= wanted) return []
    const severity = hard < LEAST_OPEN_FILES ? 'error' : 'warning'
    const message = `At most ${limitText(hard)} files may be open here; builds want ${wanted}.`
    return [finding(severity, message, `prlimit --pid $$ --nofile=${wanted}:${wanted}`)]
  },
}
