import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Peer } from '../testing/peer.ts'
import { discoverEngine } from './discover.ts'
import type { Surroundings } from './strategy.ts'

const none = Progress.none()

describe('an engine is looked for', () => {
  let home: string
  let surroundings: Surroundings
  const peers: Peer[] = []

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'cpf-'))
    // No usual socket of this machine is looked at by what is tested here: each case ends before, or names its own.
    surroundings = { env: { XDG_RUNTIME_DIR: home }, home, uid: 1000, run: async () => undefined }
  })
  afterEach(async () => {
    for (const peer of peers.splice(0)) await peer.close()
    rmSync(home, { recursive: true })
  })

  const answering = async (headers: Record<string, string>): Promise<string> => {
    const answer: RequestListener = (_request, response) => response.writeHead(200, headers).end('OK')
    const peer = await Peer.listen(answer)
    peers.push(peer)
    return `unix://${peer.socket}`
  }
  const docker = () => answering({ 'Api-Version': '1.41' })
  const podman = () => answering({ 'Api-Version': '1.41', 'Libpod-Api-Version': '4.3.1' })
  const choose = (context: string, host: string): void => {
    const meta = join(home, '.docker/contexts/meta', createHash('sha256').update(context).digest('hex'))
    mkdirSync(meta, { recursive: true })
    writeFileSync(join(home, '.docker/config.json'), JSON.stringify({ currentContext: context }))
    writeFileSync(join(meta, 'meta.json'), JSON.stringify({ Name: context, Endpoints: { docker: { Host: host } } }))
  }

  test('where DOCKER_HOST says', async () => {
    surroundings.env.DOCKER_HOST = await docker()
    const { engine, from, attempts } = await discoverEngine('docker', none, surroundings)
    expect([`unix://${engine.socket}`, from, attempts]).toEqual([surroundings.env.DOCKER_HOST, 'DOCKER_HOST', []])
  })

  test('where the current docker context says, with the reason why DOCKER_HOST did not apply', async () => {
    const address = await docker()
    choose('colima', address)
    const found = await discoverEngine('docker', none, surroundings)
    expect(found).toMatchObject({
      from: 'docker context "colima"',
      attempts: [{ strategy: 'docker-host', because: 'DOCKER_HOST is not set' }],
    })
  })

  test('and an address that somebody chose and that does not work ends the search, with its own error', async () => {
    choose('there', await docker())
    surroundings.env.DOCKER_HOST = `unix://${home}/nobody.sock`
    await expect(discoverEngine('docker', none, surroundings)).rejects.toMatchObject({
      code: 'unavailable',
      reason: 'engine_gone',
      message: expect.stringMatching(/^DOCKER_HOST: .*no such socket/),
      hint: 'systemctl start docker',
    })
  })

  test('and one of another host is unsupported', async () => {
    choose('remote', 'ssh://build.example')
    await expect(discoverEngine('docker', none, surroundings)).rejects.toMatchObject({
      code: 'unsupported',
      reason: 'engine_elsewhere',
      message: expect.stringContaining('docker context "remote"'),
    })
  })

  test('and Podman behind DOCKER_HOST is not taken for Docker', async () => {
    surroundings.env.DOCKER_HOST = await podman()
    await expect(discoverEngine('docker', none, surroundings)).rejects.toMatchObject({
      reason: 'other_engine',
      hint: 'coppice create --driver podman',
    })
    expect(await discoverEngine('podman', none, surroundings)).toMatchObject({ from: 'DOCKER_HOST' })
  })

  test('at the default connection of podman, in the forms of its versions', async (context) => {
    const address = await podman()
    const list = [
      { Name: 'other', URI: 'ssh://elsewhere' },
      { Name: 'mine', URI: address, Default: true },
    ]
    surroundings.run = async (program) => (program === 'podman' ? JSON.stringify(list) : undefined)
    const found = await discoverEngine('podman', none, surroundings)
    if (found.from.startsWith('/')) context.skip(`this machine's own podman answers at ${found.from}`)
    expect(found.from).toBe('podman connection "mine"')
    surroundings.run = async () => JSON.stringify([{ Name: 'old*', URI: address }])
    expect((await discoverEngine('podman', none, surroundings)).from).toBe('podman connection "old"')
    expect(found.attempts.map(({ strategy }) => strategy)).toEqual([
      'container-host',
      'docker-host',
      'usual-sockets',
      'rootless-sockets',
    ])
  })

  test('at the sockets of rootless engines', async (context) => {
    const answer: RequestListener = (_request, response) => response.writeHead(200, { 'Api-Version': '1.47' }).end('OK')
    const peer = await Peer.listen(answer, 'docker.sock')
    peers.push(peer)
    surroundings.env.XDG_RUNTIME_DIR = peer.dir
    const { engine, from } = await discoverEngine('docker', none, surroundings)
    if (from !== peer.socket) context.skip(`this machine's own Docker answers at ${from}`)
    expect(engine.apiVersion).toBe('1.47')
  })

  test('and when there is none, every way that was tried is told', async (context) => {
    const error = await discoverEngine('podman', none, surroundings).catch((cause: unknown) => cause)
    if (!(error instanceof Error)) context.skip("this machine's own Podman answers")
    expect(error).toMatchObject({ code: 'unavailable', reason: 'no_engine', hint: 'systemctl start podman.socket' })
    expect((error as unknown as { facts: { attempts: unknown[] } }).facts.attempts).toHaveLength(5)
  })

  test('and versions are agreed on: the newest of both, none that is too old', async () => {
    const version = async (theirs: string) => {
      surroundings.env.DOCKER_HOST = await answering({ 'Api-Version': theirs })
      return discoverEngine('docker', none, surroundings)
    }
    expect((await version('1.99')).engine.apiVersion).toBe('1.48')
    expect((await version('1.40')).engine.apiVersion).toBe('1.40')
    for (const old of ['1.12', '', 'x']) {
      await expect(version(old)).rejects.toMatchObject({ code: 'unsupported', reason: 'engine_version' })
    }
  })
})
