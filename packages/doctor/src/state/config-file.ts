import { CoppiceError } from '@coppice/protocol/wire'
import { type Check, finding } from '../check.ts'
import { readConfigJson } from '../config.ts'
import { quoted } from '../faults.ts'

/** `config.json`: a gateway does not start with a damaged one. Its fields are the gateway's to check. */
export const configFileCheck: Check = {
  id: 'state/config-file',
  async detect({ home }) {
    const path = home.config
    try {
      const value = await readConfigJson(path)
      if (value === undefined || (typeof value === 'object' && value !== null && !Array.isArray(value))) return []
      return [finding('error', `${path} holds no JSON object.`, `cat ${quoted(path)}`, { path })]
    } catch (error) {
      if (error instanceof CoppiceError)
        return [finding('error', error.message, error.hint ?? `cat ${quoted(path)}`, { path })]
      return [
        finding('error', `${path} is not valid JSON: ${(error as Error).message}.`, `cat ${quoted(path)}`, { path }),
      ]
    }
  },
}
