import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** An authority of the test's own, and one certificate by it. */
export interface Certificates {
  /** The authority's certificate, PEM. */
  authority: string
  authorityFile: string
  key: string
  certificate: string
}

/** Makes them in `folder`, valid for a day, for the given names and addresses. */
export function makeCertificates(folder: string, names: string[], addresses: string[]): Certificates {
  const file = (name: string): string => join(folder, name)
  const openssl = (...argv: string[]): void => void execFileSync('openssl', argv, { cwd: folder, stdio: 'pipe' })
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const authority = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign', '-subj', '/CN=Fake internet authority']
  openssl('req', '-x509', ...key, '-days', '1', ...authority, '-keyout', 'authority.key', '-out', 'authority.pem')
  const subjects = [...names.map((name) => `DNS:${name}`), ...addresses.map((address) => `IP:${address}`)]
  writeFileSync(file('extensions'), `subjectAltName=${subjects.join(',')}\nextendedKeyUsage=serverAuth\n`)
  openssl('req', '-new', ...key, '-subj', '/CN=fake', '-keyout', 'server.key', '-out', 'server.csr')
  const issuer = ['-CA', 'authority.pem', '-CAkey', 'authority.key', '-CAcreateserial']
  openssl('x509', '-req', '-in', 'server.csr', ...issuer, '-days', '1', '-extfile', 'extensions', '-out', 'server.pem')
  const read = (name: string): string => readFileSync(file(name), 'utf8')
  return {
    authority: read('authority.pem'),
    authorityFile: file('authority.pem'),
    key: read('server.key'),
    certificate: read('server.pem'),
  }
}
