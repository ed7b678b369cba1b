import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { ADDRESSES } from './addresses.ts'
import { type Certificates, makeCertificates } from './certificates.ts'
import { Network } from './network.ts'
import { makeAptRepository } from './packages/apt.ts'
import { makeGitRepository } from './packages/git.ts'
import { makeNpmRegistry } from './packages/npm.ts'
import { makePipIndex } from './packages/pip.ts'
import type { Answer, NameSettings, Order, Seen } from './servers/protocol.ts'

/** Names that are there from the start. Whatever else is asked for does not exist. */
const NAMES = ['example.test', 'www.example.test', 'api.example.test', 'example.org', 'api.example.org']
const PACKAGE_NAMES = ['deb.example.test', 'pypi.example.test', 'npm.example.test', 'git.example.test']
/** For those and for names that a test adds. */
const CERTIFIED = ['example.test', '*.example.test', '*.sub.example.test', 'example.org', '*.example.org']
const CERTIFIED_ADDRESSES = [ADDRESSES.web, ADDRESSES.other, ADDRESSES.web6, ADDRESSES.private]

/**
 * A fake internet: public, private and metadata addresses behind a cable, in a network namespace of its own, with a name server
 * (whose zone the test writes and whose questions it reads), web servers, raw servers, and repositories of apt, pip, npm and git.
 * Reached by this host's processes, a gateway for one: configure it with `egress.resolvers: [ADDRESSES.resolver]`. One at a
 * time on a host: `open` waits for another test's to be closed. Needs root, `ip`, `openssl`, `dpkg-deb`, `python3` and `git`.
 */
export class Internet {
  /** The authority of its web servers. */
  readonly certificates: Certificates
  readonly #network: Network
  readonly #servers: ChildProcess
  readonly #waiting = new Map<number, { resolve: (seen: Seen | null) => void; reject: (error: Error) => void }>()
  #next = 0
  #log = ''

  private constructor(network: Network, certificates: Certificates) {
    this.#network = network
    this.certificates = certificates
    const main = join(import.meta.dirname, 'servers/main.ts')
    this.#servers = spawn('nsenter', [`--net=${network.path}`, '--', process.execPath, main], {
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    for (const output of [this.#servers.stdout, this.#servers.stderr])
      output?.setEncoding('utf8').on('data', (text: string) => {
        this.#log = (this.#log + text).slice(-16_384)
      })
    this.#servers.on('message', (answer: Answer) => {
      const waiting = this.#waiting.get(answer.id)
      this.#waiting.delete(answer.id)
      if ('error' in answer) waiting?.reject(new Error(answer.error))
      else waiting?.resolve(answer.result)
    })
    this.#servers.on('exit', () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(`the fake internet has ended:\n${this.#log}`))
    })
  }

  static async open(): Promise<Internet> {
    const network = await Network.make()
    const { folder } = network
    let internet: Internet | undefined
    try {
      const site = join(folder, 'site')
      mkdirSync(site)
      makeAptRepository(join(site, 'deb.example.test'), folder)
      makePipIndex(join(site, 'pypi.example.test'), folder)
      makeNpmRegistry(join(site, 'npm.example.test'), folder, 'http://npm.example.test')
      makeGitRepository(join(site, 'git.example.test'), folder)
      const certificates = makeCertificates(folder, CERTIFIED, CERTIFIED_ADDRESSES)
      internet = new Internet(network, certificates)
      const settings: NameSettings = { answers: [[ADDRESSES.web]] }
      const names = Object.fromEntries([...NAMES, ...PACKAGE_NAMES].map((name) => [name, settings]))
      const { key, certificate } = certificates
      await internet.#tell({ order: 'start', key, certificate, folder: site, names })
      return internet
    } catch (error) {
      if (internet) await internet.close()
      network.remove()
      throw error
    }
  }

  /** Gives a name addresses from now on: the same for every question, or a list for the first, second, … question (the last stays). */
  async setName(name: string, answers: string[] | string[][] | NameSettings): Promise<void> {
    const isTurns = (list: string[] | string[][]): list is string[][] => Array.isArray(list[0])
    const turns = (list: string[] | string[][]): string[][] => (isTurns(list) ? list : [list])
    const settings = Array.isArray(answers) ? { answers: turns(answers) } : answers
    await this.#tell({ order: 'name', name, settings })
  }

  /** A name that does not exist (any more). */
  async removeName(name: string): Promise<void> {
    await this.#tell({ order: 'name', name, settings: null })
  }

  /** What came in since the start, or since `forget`. */
  async seen(): Promise<Seen> {
    return (await this.#tell({ order: 'seen' })) as Seen
  }

  async forget(): Promise<void> {
    await this.#tell({ order: 'forget' })
  }

  /** Leads 169.254.169.254 here until `close`. Throws where the host has a route of its own for it. */
  claimMetadata(): void {
    this.#network.claimMetadata()
  }

  async close(): Promise<void> {
    if (this.#servers.exitCode === null && this.#servers.signalCode === null) {
      const exited = once(this.#servers, 'exit')
      this.#servers.kill('SIGKILL')
      await exited
    }
    this.#network.remove()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #tell(order: Order): Promise<Seen | null> {
    const id = ++this.#next
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject })
      this.#servers.send({ id, ...order }, (error) => error && reject(new Error(`${error.message}\n${this.#log}`)))
    })
  }
}
