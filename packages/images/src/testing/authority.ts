import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'

const execute = promisify(execFile)

/** A certificate with its key, as files. */
export interface Issued {
  certificate: string
  key: string
}

/** A certificate authority of a test, made by openssl. */
export class TestAuthority {
  /** Its own certificate. */
  readonly certificate: string
  readonly #dir: string
  readonly #key: string

  private constructor(dir: string, name: string) {
    this.#dir = dir
    this.certificate = join(dir, `${name}.crt`)
    this.#key = join(dir, `${name}.key`)
  }

  static async make(dir: string, name: string): Promise<TestAuthority> {
    const authority = new TestAuthority(dir, name)
    await openssl(
      'req',
      '-x509',
      ...NEW_KEY,
      ...['-keyout', authority.#key, '-out', authority.certificate],
      ...subject(name),
    )
    return authority
  }

  /** @param names as `IP:127.0.0.1` or `DNS:host`; none for a client */
  async issue(name: string, names: string[]): Promise<Issued> {
    const path = (end: string) => join(this.#dir, `${name}.${end}`)
    await openssl('req', ...NEW_KEY, '-keyout', path('key'), '-out', path('csr'), ...subject(name))
    const lines = ['basicConstraints=CA:FALSE', ...(names.length > 0 ? [`subjectAltName=${names.join(',')}`] : [])]
    await writeFile(path('ext'), lines.join('\n'))
    const by = ['-CA', this.certificate, '-CAkey', this.#key, '-CAcreateserial', '-days', '2', '-extfile', path('ext')]
    await openssl('x509', '-req', '-in', path('csr'), '-out', path('cert'), ...by)
    return { certificate: path('cert'), key: path('key') }
  }
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']

const subject = (name: string) => ['-subj', `/CN=${name}`]

async function openssl(...args: string[]): Promise<void> {
  const [command = '', ...rest] = args
  // `req` without `-x509` takes no days.
  const used =
    command === 'req' && !rest.includes('-x509')
      ? rest.filter((arg, at) => arg !== '-days' && rest[at - 1] !== '-days')
      : rest
  await execute('openssl', [command, ...used])
}
