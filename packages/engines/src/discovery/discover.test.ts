import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { RequestListener } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Peer } from '../testing/peer.ts'
import { discoverEngine } from './discover.ts'
import { DockerContextStrategy } from './docker-context.ts'
import { PodmanConnectionStrategy } from './podman-connection.ts'
import type { Surroundings } from './strategy.ts'
import { ownSurroundings } from './surroundings.ts'

const none = Progress.none()

describe('an engine is looked for', () => {
  let home: string
  let surroundings: Surroundings
  const peers: Peer[] = []

  beforeEach(() => {
    home = mkdtempSync(join(tmpdir(), 'cpf-'))
    // No usual socket of this machine is looked at by what is tested here: each case ends before, or names its own.
    surroundings = {
      env: { XDG_RUNTIME_DIR: home },
      home,
      uid: 1000,
      run: async () => ({ because: 'there is no podman command' }),
    }
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
    surroundings.run = async (program) => (program === 'podman' ? { printed: JSON.stringify(list) } : { because: 'no' })
    const found = await discoverEngine('podman', none, surroundings)
    if (found.from.startsWith('/')) context.skip(`this machine's own podman answers at ${found.from}`)
    expect(found.from).toBe('podman connection "mine"')
    surroundings.run = async () => ({ printed: JSON.stringify([{ Name: 'old*', URI: address }]) })
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

  test('and a chosen docker context that is broken is the error, whatever answers at the usual socket', async () => {
    choose('colima', 'unix:///nowhere.sock')
    const meta = join(home, '.docker/contexts/meta', createHash('sha256').update('colima').digest('hex'), 'meta.json')
    const broken = (said: string) =>
      expect(discoverEngine('docker', none, surroundings)).rejects.toMatchObject({
        code: 'unavailable',
        reason: 'docker_context_broken',
        message: expect.stringMatching(new RegExp(`chooses the docker context "colima".*${said}`)),
        hint: expect.stringContaining('docker context ls'),
      })
    for (const [text, said] of [
      ['{', 'is no JSON'],
      ['7', 'is no JSON'],
      ['{}', 'names no endpoint'],
      ['{"Endpoints":{"docker":{"Host":7}}}', 'names no endpoint'],
    ] as const) {
      writeFileSync(meta, text)
      await broken(said)
    }
    rmSync(meta)
    await broken('there is no ')
    rmSync(join(home, '.docker/config.json'))
    surroundings.env.DOCKER_CONTEXT = 'colima'
    await broken('there is no ')
    mkdirSync(meta)
    await broken('is no file')
  })

  test('and settings of docker that cannot be read choose nothing, and say why', async () => {
    mkdirSync(join(home, '.docker'))
    const config = join(home, '.docker/config.json')
    const because = async (): Promise<string> => {
      const found = await new DockerContextStrategy().find(surroundings)
      return 'because' in found ? found.because : 'it was found'
    }
    expect(await because()).toContain('there is no ')
    execFileSync('mkfifo', [config])
    expect(await because()).toContain('is no file')
    rmSync(config)
    writeFileSync(config, '{"auths":')
    expect(await because()).toContain('is no JSON')
    writeFileSync(config, '{"auths":{},"currentContext":7}')
    expect(await because()).toContain('no docker context is chosen in')
    writeFileSync(config, '{"currentContext":"default"}')
    expect(await because()).toContain("docker's default")
  })

  test('and a podman command that fails, hangs or talks nonsense says so', { timeout: 20_000 }, async () => {
    const own = ownSurroundings()
    const program = join(home, 'podman')
    surroundings.run = (_name, args, progress) => own.run(program, args, progress)
    const because = async (script: string): Promise<string> => {
      writeFileSync(program, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
      const found = await new PodmanConnectionStrategy().find(surroundings, none)
      return 'because' in found ? found.because : 'it was found'
    }
    expect(await because('echo "containers.conf: line 2" >&2; exit 125')).toContain('failed: containers.conf: line 2')
    expect(await because('echo nonsense')).toContain('printed no list')
    expect(await because('echo []')).toContain('no default connection')
    expect(await because('trap "" TERM; exec sleep 600')).toContain('has not answered for 5 s')
    rmSync(program)
    const found = await new PodmanConnectionStrategy().find(surroundings, none)
    expect(found).toMatchObject({ because: expect.stringContaining('there is no') })
  })

  test('and what is no address says so, and one with a password does not tell it', async () => {
    for (const [address, reason] of [
      ['nonsense', 'bad_engine_address'],
      ['unix://', 'bad_engine_address'],
      ['tcp://10.0.0.7:2375', 'engine_elsewhere'],
      ['ssh://me:secret@build.example', 'engine_elsewhere'],
    ] as const) {
      surroundings.env.DOCKER_HOST = address
      const error = await discoverEngine('docker', none, surroundings).catch((cause: unknown) => cause)
      expect(error).toMatchObject({ reason, message: expect.stringMatching(/^DOCKER_HOST: /) })
      expect(String(error)).not.toContain('secret')
    }
  })
})
