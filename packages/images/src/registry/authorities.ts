import { createSecureContext, getCACertificates, type SecureContext } from 'node:tls'
import type { HostCertificates } from './certificates.ts'

let machine: string[] | undefined

/**
 * How a registry's certificate is checked: by the authorities that Node brings along, those that this machine has (a company's
 * own are put there), those of `NODE_EXTRA_CA_CERTS`, and those of this registry. Reading them takes 150 ms, once in a thread.
 *
 * @param checked false: no certificate is checked, and only the own one is of use
 */
export function secureContext(own: HostCertificates | undefined, checked: boolean): SecureContext {
  const { client } = own ?? {}
  return createSecureContext({
    ...(client && { cert: client.certificate, key: client.key }),
    ...(checked && { ca: [...ofMachine(), ...(own?.authorities ?? [])] }),
  })
}

function ofMachine(): string[] {
  machine ??= [...new Set([...getCACertificates('default'), ...systemAuthorities()])]
  return machine
}

function systemAuthorities(): string[] {
  try {
    return getCACertificates('system')
  } catch {
    // A system without any, or with one that cannot be read: those that Node has are left.
    return []
  }
}
