import { type Check, type Finding, finding } from '../check.ts'
import { VERSION } from '../version.ts'

/** The gateway that runs, if one does: does it answer, and is it of this version? */
export const gatewayCheck: Check = {
  id: 'gateway/version',
  async detect({ gateway, note }) {
    const state = await gateway
    if (state.kind === 'none') {
      note(`No gateway runs; the first command that needs one starts it. This is version ${VERSION}.`)
      return []
    }
    const where = state.local
      ? `The gateway (pid ${state.pid}, ${state.url})`
      : `The gateway that COPPICE_URL names (${state.url})`
    const findings: Finding[] = []
    if (state.kind === 'silent') {
      const hint = state.pid === null ? `curl -sv ${state.url}/healthz` : `kill ${state.pid}`
      findings.push(finding('error', `${where} does not answer: ${state.error.message}`, hint))
    } else if (state.version !== VERSION) {
      const hint = state.local ? 'coppice gateway stop && coppice gateway start' : `curl -s ${state.url}/healthz`
      findings.push(finding('warning', `${where} is version ${state.version}, and this is version ${VERSION}.`, hint))
    } else note(`${where} is version ${state.version}, as this is.`)
    if (!state.local) note('Everything else is about this machine, not about the one that COPPICE_URL names.')
    return findings
  },
}
