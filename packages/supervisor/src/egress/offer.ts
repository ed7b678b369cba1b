import type { SupervisorNetwork } from '@coppice/protocol/wire'

/** Whether a value from a gateway says what to listen on. */
export function isNetwork(value: unknown): value is SupervisorNetwork {
  const { proxyPort, dnsPort, intercepts } = (value ?? {}) as Partial<SupervisorNetwork>
  return (
    isPort(proxyPort, 0) &&
    (dnsPort === null || isPort(dnsPort, 0)) &&
    Array.isArray(intercepts) &&
    intercepts.length <= 64 &&
    intercepts.every((each) => isPort(each?.port, 1) && isPort(each?.at, 0))
  )
}

function isPort(value: unknown, least: number): value is number {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= 65_535
}
