import { type Check, finding } from '../check.ts'
import { readConfigJson } from '../config.ts'
import { errnoOf, quoted } from '../faults.ts'

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
      if (errnoOf(error) !== undefined) throw error
      return [
        finding('error', `${path} is not valid JSON: ${(error as Error).message}.`, `cat ${quoted(path)}`, { path }),
      ]
    }
  },
}
