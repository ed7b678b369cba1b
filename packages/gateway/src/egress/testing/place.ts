import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { EgressRecord, NetworkPolicy } from '@coppice/protocol'
import { Egress, type EgressOptions } from '../egress.ts'
import { ForgedSupervisor } from './supervisor.ts'

export const SANDBOX = 'sb-test'

export interface PlaceOptions {
  policy?: NetworkPolicy
  config?: Partial<EgressOptions['config']>
  env?: NodeJS.ProcessEnv
  ownPorts?: number[]
  /** Of another place, whose records are gone on with. */
  dir?: string
}

/** One sandbox's way out with a supervisor at its end, and all that tests look at. */
export class Place {
  readonly egress: Egress
  readonly supervisor: ForgedSupervisor
  readonly dir: string
  readonly logged: string[]

  private constructor(egress: Egress, supervisor: ForgedSupervisor, dir: string, logged: string[]) {
    this.egress = egress
    this.supervisor = supervisor
    this.dir = dir
    this.logged = logged
  }

  static async start(options: PlaceOptions = {}): Promise<Place> {
    const dir = options.dir ?? mkdtempSync(join(tmpdir(), 'coppice-egress-log-'))
    const logged: string[] = []
    const egress = new Egress({
      dir,
      config: { maxConnections: 512, connectMs: 2_000, idleMs: 60_000, resolvers: [], ...options.config },
      ownPorts: () => options.ownPorts ?? [],
      env: options.env ?? {},
      log: (message) => logged.push(message),
    })
    const supervisor = await ForgedSupervisor.start()
    egress.open(SANDBOX, { policy: options.policy ?? { mode: 'public', allow: [] }, name: 'box' })
    egress.setNetwork(SANDBOX, { proxyPort: 1, dnsPort: null, intercepts: [] })
    egress.attach(SANDBOX, supervisor.link)
    await supervisor.attached()
    return new Place(egress, supervisor, dir, logged)
  }

  get counts() {
    return this.egress.counts(SANDBOX)
  }

  async records(): Promise<EgressRecord[]> {
    return Array.fromAsync(this.egress.records(SANDBOX))
  }

  async close(): Promise<void> {
    await this.egress.close()
    await this.supervisor.close()
    rmSync(this.dir, { recursive: true, force: true })
  }
}

/** All of a stream, and whether it came to its end; one that was reset did not. */
export function collect(stream: Duplex & { rstCode?: number }): Promise<{ bytes: Buffer; ended: boolean }> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    let ended = false
    const finish = () => resolve({ bytes: Buffer.concat(chunks), ended })
    stream
      .on('data', (chunk: Buffer) => chunks.push(chunk))
      .once('end', () => {
        ended = !stream.rstCode
        finish()
      })
      .once('close', finish)
      .on('error', () => {})
    stream.resume()
  })
}
