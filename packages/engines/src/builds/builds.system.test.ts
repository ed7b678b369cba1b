import { createHash, randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildTar, makeBusyboxArchive, RegistryServer, type TestEntry } from '@coppice/images/testing'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import { afterAll, afterEach, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { Engine } from '../api/engine.ts'
import { Middleman } from '../testing/middleman.ts'
import { PrivateDocker } from '../testing/private-docker.ts'
import type { BuildOptions } from './options.ts'

const none = Progress.none()

async function* once1(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

const context = (dockerfile: string, ...more: TestEntry[]) => ({
  chunks: once1(buildTar([{ name: 'Dockerfile', body: dockerfile }, ...more])),
})

/** Processes with this word in their command. */
const running = (word: string): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word)
      } catch {
        return false
      }
    })

describe('builds by Docker', () => {
  let docker: PrivateDocker
  let dir: string
  let middle: Middleman
  let engine: Engine
  let unavailable: string | undefined
  let before: string

  const images = async () => (await docker.run('images', '--all', '--quiet', '--no-trunc')).output

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'coppice-builds-'))
    const opened = await PrivateDocker.open()
    if ('unavailable' in opened) {
      unavailable = opened.unavailable
      return
    }
    docker = opened
    await docker.run('import', await makeBusyboxArchive(join(dir, 'busybox.tar')), 'busybox:1')
    before = await images()
    middle = await Middleman.listen(docker.socket)
    engine = await Engine.connect(middle.socket, 'docker', none)
  })
  afterAll(async () => {
    await middle?.close()
    await docker?.close()
    rmSync(dir, { recursive: true, force: true })
  })
  /** Whatever a test did: nothing of it is left but what it was to make. */
  afterEach(async () => {
    if (unavailable) return
    middle.refused.clear()
    await docker.run('rmi', '--no-prune', 'built')
    expect(await images()).toBe(before)
    expect((await docker.run('ps', '--all', '--quiet')).output).toBe('')
    await expect.poll(() => middle.open('/session') + middle.open('/build')).toBe(0)
  })

  const needs = (context: TestContext): void => {
    if (unavailable) context.skip(unavailable)
  }
  const build = async (body: ReturnType<typeof context>, options: Partial<BuildOptions> = {}, progress = none) =>
    Array.fromAsync(engine.builds.build(body, { tag: 'built', ...options }, progress))
  const failure = async (building: Promise<unknown>): Promise<CoppiceError> => {
    const caught = await building.then(
      () => undefined,
      (cause: unknown) => cause,
    )
    expect(caught).toBeInstanceOf(CoppiceError)
    return caught as CoppiceError
  }
  /** A build that stays in its second step until somebody ends it. `begun` resolves when it is there. */
  const endless = (progress = none, through = engine) => {
    const word = `w${randomBytes(8).toString('hex')}`
    const begun = Promise.withResolvers<void>()
    const read = async (): Promise<void> => {
      const body = context(`FROM busybox:1\nRUN echo here; sleep 100000; : ${word}\n`)
      for await (const line of through.builds.build(body, { tag: 'built' }, progress))
        if (/ here$/.test(line) && !line.includes('RUN')) begun.resolve()
    }
    const ended = read()
    ended.catch(begun.reject)
    return { word, begun: begun.promise, ended }
  }

  test('use BuildKit also where it is not the default, and say what it says', async (context_) => {
    needs(context_)
    const dockerfile = `
      FROM busybox:1 AS one
      ARG WORD
      COPY file /file
      RUN --mount=type=cache,target=/cache echo $WORD > /word; echo to stderr >&2; echo half a li; printf ne
      FROM one AS two
      RUN exit 7`
    const body = {
      chunks: once1(
        buildTar([
          { name: 'sub/my', body: dockerfile },
          { name: 'file', body: 'text' },
        ]),
      ),
    }
    const options = { dockerfile: 'sub/my', target: 'one', buildArgs: { WORD: 'spoken' }, labels: { a: 'b' } }
    const lines = await build(body, options)
    const step = lines.findIndex((line) => line.includes('RUN --mount=type=cache'))
    const [, number] = /^(#\d+) \[.*\] RUN/.exec(lines[step] ?? '') ?? []
    const output = lines.filter((line) => line.startsWith(`${number} `)).slice(1)
    expect(output.map((line) => line.replace(/^#\d+ \d+\.\d{3} /, ''))).toEqual(
      expect.arrayContaining(['to stderr', 'half a li', 'ne', expect.stringMatching(/^#\d+ DONE \d+\.\ds$/)]),
    )
    const made = await engine.images.mustInspect('built', none)
    expect(made.Config?.Labels).toMatchObject({ a: 'b' })
    await docker.run('create', '--name', 'look', '--network', 'none', 'built', 'true')
    const [word] = await Array.fromAsync(engine.containers.getArchive('look', '/word', none))
    expect(word?.subarray(512, 519).toString()).toBe('spoken\n')
    await docker.run('rm', 'look')
  })

  test('are cached by what the context holds, not by when it was sent', async (context_) => {
    needs(context_)
    const dockerfile = 'FROM busybox:1\nCOPY file /file\nRUN echo at work\n'
    const work = async (body: string, mtime: string, options: Partial<BuildOptions> = {}) => {
      const lines = await build(context(dockerfile, { name: 'file', body, pax: { mtime } }), options)
      // Its steps stay in the builder's cache.
      await engine.images.remove('built', none, true)
      const cached = ['COPY', 'RUN'].map((word) => {
        const [, number] = /^(#\d+) /.exec(lines.find((line) => line.includes(`] ${word} `)) ?? '') ?? []
        return lines.includes(`${number} CACHED`)
      })
      return { cached, worked: lines.some((line) => / at work$/.test(line) && !line.includes('RUN')) }
    }
    expect(await work('first', '1700000000')).toEqual({ cached: [false, false], worked: true })
    expect(await work('first', '1800000000')).toEqual({ cached: [true, true], worked: false })
    expect((await work('second', '1800000000')).worked).toBe(true)
    expect((await work('second', '1800000000', { noCache: true })).worked).toBe(true)
  })

  test('that fail name the step, its last lines and its status', async (context_) => {
    needs(context_)
    const dockerfile = 'FROM busybox:1\nRUN echo exit code: 3\nRUN for i in $(seq 30); do echo line $i; done; exit 9\n'
    const failed = await failure(build(context(dockerfile)))
    expect(failed).toMatchObject({ code: 'failed_precondition', reason: 'build_failed' })
    expect(failed.message).toMatch(/^The build failed at \[3\/3\] RUN for i/)
    expect(failed.facts).toEqual({
      step: '[3/3] RUN for i in $(seq 30); do echo line $i; done; exit 9',
      status: 9,
      lastLines: Array.from({ length: 20 }, (_, at) => `line ${at + 11}`),
    })
  })

  test('of a Dockerfile that is none, or is not there, say so', async (context_) => {
    needs(context_)
    expect((await failure(build(context('FRM x\n')))).message).toMatch(
      /^The build failed: dockerfile parse error .*unknown instruction/,
    )
    expect(await failure(build(context('FROM busybox:1\n'), { dockerfile: 'other' }))).toMatchObject({
      reason: 'build_failed',
      message: expect.stringContaining('other'),
    })
  })

  test('that are cancelled have ended when the caller is told: no process, no connection, no image', async (context_) => {
    needs(context_)
    const abort = new AbortController()
    const { word, begun, ended } = endless(new Progress({ signal: abort.signal }))
    await begun
    expect(running(word)).not.toEqual([])
    abort.abort()
    expect(await failure(ended)).toMatchObject({ code: 'cancelled' })
    expect(running(word)).toEqual([])
  })

  test('that nobody listens to any more have ended when the loop has', async (context_) => {
    needs(context_)
    const word = `w${randomBytes(8).toString('hex')}`
    const body = context(`FROM busybox:1\nRUN echo here; sleep 100000; : ${word}\n`)
    for await (const line of engine.builds.build(body, { tag: 'built' }, none)) if (/ here$/.test(line)) break
    expect(running(word)).toEqual([])
  })

  test('that are cancelled while the context is sent end at once', async (context_) => {
    needs(context_)
    const abort = new AbortController()
    const waiting = Promise.withResolvers<void>()
    async function* slow() {
      yield buildTar([{ name: 'Dockerfile', body: 'FROM busybox:1\n' }], { end: false })
      waiting.resolve()
      await new Promise<void>((resolve) => abort.signal.addEventListener('abort', () => resolve()))
      throw new CoppiceError('cancelled', 'upload_cut', 'The client has gone.')
    }
    const building = build({ chunks: slow() }, {}, new Progress({ signal: abort.signal }))
    await waiting.promise
    abort.abort()
    expect(await failure(building)).toMatchObject({ code: 'cancelled' })
  })

  test('whose context cannot be read to its end fail with that', async (context_) => {
    needs(context_)
    async function* broken() {
      yield buildTar([{ name: 'Dockerfile', body: 'FROM busybox:1\n' }], { end: false })
      throw new CoppiceError('conflict', 'context_changed', 'It has changed.')
    }
    expect(await failure(build({ chunks: broken() }))).toMatchObject({ reason: 'context_changed' })
  })

  describe('of a context of which steps do not see all', () => {
    const file = (name: string, body: string | Buffer) => ({ name: `./${name}`, body })
    const dockerfile = (text: string) => file('sub/my', text)
    const tar = (...entries: TestEntry[]) => ({ chunks: once1(buildTar(entries)), hidden: 1 })
    const options = { dockerfile: 'sub/my' }

    test('show them the rest, large files and empty ones', async (context_) => {
      needs(context_)
      const large = randomBytes(5 * 1024 * 1024 + 1)
      const text = 'FROM busybox:1\nCOPY . /c\nRUN cd /c; for f in * */*; do echo seen $f; done; md5sum large\n'
      const entries = [file('a', ''), { name: './b/', type: '5' }, file('b/c', 'x'), file('large', large)]
      const lines = await build(tar(dockerfile(text), ...entries), options)
      const seen = lines.flatMap((line) => / seen (\S+)$/.exec(line)?.[1] ?? [])
      expect(seen).toEqual(['a', 'b', 'large', 'b/c'])
      expect(lines.join('\n')).toContain(`${createHash('md5').update(large).digest('hex')}  large`)
    })

    test('are cached by what it holds', async (context_) => {
      needs(context_)
      const work = async (body: string) => {
        const text = 'FROM busybox:1\nCOPY file /file\nRUN echo at work\n'
        const lines = await build(tar(dockerfile(text), file('file', body), file('other', body)), options)
        await engine.images.remove('built', none, true)
        return lines.some((line) => / at work$/.test(line) && !line.includes('RUN'))
      }
      const [one, other] = [randomBytes(8).toString('hex'), randomBytes(8).toString('hex')]
      expect([await work(one), await work(one), await work(other)]).toEqual([true, false, true])
    })

    test('fail with what it cannot be read for, also where no step needs it', async (context_) => {
      needs(context_)
      for (const step of ['COPY . /c', 'ENV A=b']) {
        async function* broken() {
          yield buildTar([dockerfile(`FROM busybox:1\n${step}\n`), file('a', 'x'.repeat(100_000))]).subarray(0, 50_000)
          throw new CoppiceError('conflict', 'context_changed', 'It has changed.')
        }
        const failed = await failure(build({ chunks: broken(), hidden: 1 } as never, options))
        expect(failed).toMatchObject({ reason: 'context_changed' })
      }
      expect(await failure(build(tar(file('a', ''))))).toMatchObject({ reason: 'build_failed' })
      const unsorted = tar(dockerfile('FROM busybox:1\nCOPY . /c\n'), file('b', ''), file('a', ''))
      expect((await failure(build(unsorted, options))).message).toMatch(/out of order/)
    })

    test('that are cancelled while it is sent have ended when the caller is told', async (context_) => {
      needs(context_)
      const abort = new AbortController()
      const waiting = Promise.withResolvers<void>()
      async function* slow() {
        yield buildTar([dockerfile('FROM busybox:1\nCOPY . /c\n'), file('a', 'x'.repeat(100_000))]).subarray(0, 50_000)
        waiting.resolve()
        await new Promise<void>((resolve) => abort.signal.addEventListener('abort', () => resolve()))
      }
      const building = build({ chunks: slow(), hidden: 1 } as never, options, new Progress({ signal: abort.signal }))
      await waiting.promise
      abort.abort()
      expect(await failure(building)).toMatchObject({ code: 'cancelled' })
    })
  })

  test('whose session is cut end typed, and end in the engine', async (context_) => {
    needs(context_)
    const { word, begun, ended } = endless()
    await begun
    expect(middle.cut('/session')).toBe(1)
    expect(await failure(ended)).toMatchObject({ code: 'unavailable', reason: 'build_session_lost', retryable: true })
    expect(running(word)).toEqual([])
  })

  test('are told from the engine’s end', async (context_) => {
    needs(context_)
    const { word, begun, ended } = endless()
    await begun
    await docker.end('SIGKILL')
    expect(await failure(ended)).toMatchObject({ code: 'unavailable', reason: 'engine_gone' })
    // Nobody else would: what it was running goes on for ever.
    for (const pid of running(word)) process.kill(pid, 'SIGKILL')
    await expect.poll(() => running(word)).toEqual([])
    await docker.start()
  })

  describe('with a base image that not everybody may have', () => {
    let registry: RegistryServer | undefined
    const login = { username: 'me', secret: 'my word' }

    beforeAll(async () => {
      if (unavailable || (await RegistryServer.missing())) return
      registry = await RegistryServer.start({ login: { username: login.username, password: login.secret } })
      const name = `${registry.host}/team/base:1`
      await docker.run('tag', 'busybox:1', name)
      await docker.run('login', '--username', login.username, '--password', login.secret, registry.host)
      expect((await docker.run('push', name)).exitCode).toBe(0)
      await docker.run('rmi', '--no-prune', name)
    })
    afterAll(() => registry?.stop())

    test('ask who is asking, and tell what they are refused', async (context_) => {
      needs(context_)
      const host = (registry ?? context_.skip((await RegistryServer.missing()) ?? 'no registry')).host
      const base = () => context(`FROM ${host}/team/base:1\nRUN echo built on it\n`)
      expect((await failure(build(base()))).message).toMatch(/authorization|unauthorized|no basic auth/i)
      const wrong = await failure(build(base(), { findLogin: async () => ({ ...login, secret: 'another' }) }))
      expect(wrong).toMatchObject({ reason: 'build_failed' })
      const asked: string[] = []
      const findLogin = async (one: string) => {
        asked.push(one)
        return login
      }
      const lines = await build(base(), { findLogin })
      expect(lines.some((line) => / built on it$/.test(line))).toBe(true)
      expect(new Set(asked)).toEqual(new Set([host]))
      expect(lines.join('\n')).not.toContain(login.secret)
    })

    test('are told who is asking where the builder does not ask: of the registries that are named', async (context_) => {
      needs(context_)
      const host = (registry ?? context_.skip((await RegistryServer.missing()) ?? 'no registry')).host
      const base = () => context(`FROM ${host}/team/base:1\nRUN echo built on it\n`)
      const asked: string[] = []
      const findLogin = async (one: string) => {
        asked.push(one)
        return one === host ? login : undefined
      }
      const refused = await failure(build(base(), { classic: true, findLogin, registries: ['other.example'] }))
      expect(refused.message).toMatch(/authorization|unauthorized|no basic auth/i)
      expect(asked).toEqual(['other.example'])
      const lines = await build(base(), { classic: true, findLogin, registries: [host, 'other.example'] })
      expect(lines).toContain('built on it')
      expect(lines.join('\n')).not.toContain(login.secret)
      await docker.run('rmi', '--no-prune', 'built')
      await docker.run('rmi', '--no-prune', `${host}/team/base:1`)
      // Steps of this builder are images; those of a build that has succeeded are its cache.
      await docker.run('image', 'prune', '--force')
    })
  })

  describe('with secrets', () => {
    const bytes = randomBytes(24).toString('hex')
    const secrets = new Map([['token', Buffer.from(bytes)]])
    const dockerfile = (mount: string, run: string) =>
      context(`FROM busybox:1\nRUN --mount=type=secret,id=token${mount} ${run}\n`)

    test('give them to the steps that ask, and keep none', async (context_) => {
      needs(context_)
      const lines = await build(dockerfile('', 'sha256sum /run/secrets/token > /sum; echo read it'), { secrets })
      expect(lines.some((line) => / read it$/.test(line) && !line.includes('RUN'))).toBe(true)
      await docker.run('create', '--name', 'look', '--network', 'none', 'built', 'true')
      const [sum] = await Array.fromAsync(engine.containers.getArchive('look', '/sum', none))
      await docker.run('rm', 'look')
      expect(sum?.subarray(512, 576).toString()).toBe(createHash('sha256').update(bytes).digest('hex'))
      const saved = Buffer.concat(await Array.fromAsync(engine.images.save(['built'], none)))
      expect(saved.includes(bytes)).toBe(false)
      expect(lines.join('\n')).not.toContain(bytes)
    })

    test('do without those that are not given, unless a step cannot', async (context_) => {
      needs(context_)
      const lines = await build(dockerfile('', 'test ! -e /run/secrets/token && echo without'))
      expect(lines.some((line) => / without$/.test(line) && !line.includes('RUN'))).toBe(true)
      expect(await failure(build(dockerfile(',required=true', 'true')))).toMatchObject({
        reason: 'build_failed',
        message: expect.stringContaining('secret token not found'),
        hint: expect.stringContaining('--secret'),
      })
    })

    test('are refused where there is only the classic builder', async (context_) => {
      needs(context_)
      const refused = await failure(build(dockerfile('', 'true'), { secrets, classic: true }))
      expect(refused).toMatchObject({ code: 'unsupported', reason: 'build_secrets' })
      expect(refused.facts.builders).toEqual(['BuildKit', 'Podman'])
    })

    test('an SSH agent is none of them, and a step that wants one is told', async (context_) => {
      needs(context_)
      const wanting = context('FROM busybox:1\nRUN --mount=type=ssh,required=true true\n')
      expect(await failure(build(wanting))).toMatchObject({ code: 'unsupported', reason: 'build_ssh' })
    })
  })

  describe('by the classic builder', () => {
    const dockerfile = 'FROM busybox:1\nRUN echo at work\nRUN exit 9\n'
    const said = async (options: Partial<BuildOptions> = {}) => {
      const lines: string[] = []
      const read = async (): Promise<void> => {
        for await (const line of engine.builds.build(context(dockerfile), { tag: 'built', ...options }, none))
          lines.push(line)
      }
      const failed = await failure(read())
      expect(failed).toMatchObject({
        reason: 'build_failed',
        facts: { step: 'Step 3/3 : RUN exit 9', status: 9, lastLines: expect.arrayContaining(['at work']) },
      })
      expect(lines).toContain('Step 2/3 : RUN echo at work')
      return lines[0]
    }

    test('say why: it was asked for, the engine refuses a session, it is switched off', async (context_) => {
      needs(context_)
      expect(await said({ classic: true })).toMatch(/classic builder.*asked for/)
      middle.refused.add('/session')
      expect(await said()).toMatch(/classic builder.*refuses a session \(not here\)/)
      middle.refused.clear()
      writeFileSync(join(docker.dir, 'daemon.json'), '{"features":{"buildkit":false}}')
      await docker.end('SIGTERM')
      await docker.start()
      const with_ = engine
      engine = await Engine.connect(middle.socket, 'docker', none)
      expect(await said()).toMatch(/classic builder.*switched off/)
      engine = with_
    })
  })
})
