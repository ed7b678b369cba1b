import { type EgressRecord, type NetworkOption, Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { CoppiceCommand } from '../../support/command.ts'
import { insideArgv, saidInside } from '../../support/inside.ts'
import { bytesDigest } from '../../support/internet/data.ts'
import { ADDRESSES, Internet, PORTS } from '../../support/internet/index.ts'
import { openWorld, type World } from '../../support/world.ts'

const GiB = 1024 ** 3

/** What programs in a sandbox want from the network, and get. */
describe('work through the session', { timeout: 120_000 }, () => {
  let internet: Internet
  let world: World
  let box: Sandbox
  let coppice: CoppiceCommand

  beforeAll(async () => {
    internet = await Internet.open()
    world = await openWorld({ egress: { resolvers: [ADDRESSES.resolver] } })
    coppice = new CoppiceCommand(world.gateway.home)
    box = await world.create({ cpus: 2 })
    // Another test may have the internet.
  }, 420_000)
  afterAll(async () => {
    await world?.dispose()
    await internet?.close()
  }, 60_000)
  beforeEach(async () => {
    await internet.forget()
    await box.network.set('public')
  })

  const records = (): Promise<EgressRecord[]> => Array.fromAsync(box.network.log())
  const wget = (url: string, env?: Record<string, string>) =>
    box.exec(['wget', '-q', '-O', '-', url], env ? { env } : {})

  test('a gigabyte comes whole', async () => {
    // By the Node of the runtime bundle: busybox's own takes as long again for it as all the rest.
    const node = '/.coppice/ld.so --library-path /.coppice/lib /.coppice/coppice-supervisor'
    const hash =
      "const h = require('node:crypto').createHash('sha256'); process.stdin.pipe(h).on('finish', () => console.log(h.digest('hex')))"
    const sum = await box.exec(`wget -q -O - http://example.test/bytes/${GiB} | ${node} -e "${hash}"`)
    expect(sum.stdout.trim()).toBe(bytesDigest(GiB))
    expect((await records()).at(-1)).toMatchObject({
      name: 'example.test',
      via: 'http',
      verdict: 'allowed',
      end: 'closed',
    })
    expect((await records()).at(-1)?.bytesIn).toBeGreaterThanOrEqual(GiB)
  })

  test('a gigabyte goes through a tunnel whole, both ways', async () => {
    const program = `
      const { createHash } = await import('node:crypto')
      const { s } = await tunnel('${ADDRESSES.web}:${PORTS.digest}')
      const piece = Buffer.alloc(1 << 20, 'x'); const hash = createHash('sha256')
      for (let n = 0; n < 1024; n += 1) { hash.update(piece); if (!s.write(piece)) await once(s, 'drain') }
      s.end(); say([await all(s), hash.digest('hex')])`
    const [theirs, ours] = await saidInside<[string, string]>(box, program)
    expect(theirs).toBe(ours)
  })

  describe('programs that know no proxy', () => {
    const bare = {
      http_proxy: '',
      HTTP_PROXY: '',
      https_proxy: '',
      HTTPS_PROXY: '',
      all_proxy: '',
      ALL_PROXY: '',
      NODE_USE_ENV_PROXY: '',
    }

    test('reach what they name, by a plain connect', async () => {
      expect((await wget('http://example.test/', bare)).stdout).toBe('hello from example.test\n')
      expect((await records()).at(-1)).toMatchObject({
        via: 'transparent',
        name: 'example.test',
        address: ADDRESSES.web,
        port: 80,
      })
      const program = `
        const s = tls.connect({ host: 'example.test', port: 443, servername: 'example.test', ca: args[0] })
        s.on('secureConnect', () => s.write('GET / HTTP/1.0\\r\\nHost: example.test\\r\\n\\r\\n')); say(await all(s))`
      const said = await saidInside<string>(box, program, [internet.certificates.authority], { env: bare })
      expect(said).toMatch(/hello from example\.test/)
    })

    test('reach other ports when a rule names them, and their own listeners on every port go on working', async () => {
      await box.network.set(['example.test', `example.test:${PORTS.echo}`])
      const program = `
        const server = net.createServer((s) => s.end('mine')); const heard = []
        for (const port of [80, 443, ${PORTS.echo}, 53]) {
          await once(server.listen(port, '0.0.0.0'), 'listening')
          heard.push(await all(net.connect(port, '127.0.0.1')))
          if (port === ${PORTS.echo}) { const s = net.connect(port, 'example.test'); s.end('theirs'); heard.push(await all(s)) }
          server.close(); await once(server, 'close')
        }
        say(heard)`
      expect(await saidInside(box, program, [], { env: bare })).toEqual(['mine', 'mine', 'mine', 'theirs', 'mine'])
    })

    test('are told at once when a name is not allowed', async () => {
      await box.network.set('none')
      const refused = await wget('http://example.test/', bare)
      expect(refused.exitCode).toBe(1)
      expect(refused.stderr).toMatch(/bad address/)
    })
  })

  test('Node’s own fetch follows the proxy variables', async () => {
    const said = await saidInside<string>(box, "say(await (await fetch('http://example.test/')).text())")
    expect(said).toBe('hello from example.test\n')
  })

  test('SOCKS 5 works by name and by address, and says why it refuses', async () => {
    const program = `
      const ask = async (host, port) => {
        const s = await dial(); const name = Buffer.from(host)
        s.write(Buffer.from([5, 1, 0])); await once(s, 'data')
        s.write(Buffer.concat([Buffer.from([5, 1, 0, 3, name.length]), name, Buffer.from([port >> 8, port & 255])]))
        const [answer] = await once(s, 'data'); s.destroy(); return answer[1]
      }
      say([await ask('example.test', 80), await ask('${ADDRESSES.private}', 80), await ask('${ADDRESSES.web}', 4)])`
    expect(await saidInside(box, program)).toEqual([0, 2, 5])
  })

  test('a refusal says which rule it was and the command that allows it', async () => {
    await box.network.set(['example.test'])
    const refused = await saidInside<string>(box, "const { head } = await tunnel('api.example.org:443'); say(head)")
    expect(refused).toMatch(/^HTTP\/1\.1 403 /)
    expect(refused).toContain(`coppice network set ${box.id} --allow api.example.org`)
    const { code } = await coppice.run(['network', 'set', box.id, '--allow', 'api.example.org'])
    expect(code).toBe(0)
    expect(
      await saidInside<string>(box, "const { s, head } = await tunnel('api.example.org:443'); s.destroy(); say(head)"),
    ).toMatch(/200/)
  })

  test('a changed policy cuts what it refuses now, and nothing else', async () => {
    await box.network.set(['example.test', 'api.example.test'])
    const program = `
      const kept = await tunnel('example.test:80'); const lost = await tunnel('api.example.test:80')
      process.stdin.resume(); process.stdin.on('end', async () => { kept.s.write('GET / HTTP/1.0\\r\\nHost: example.test\\r\\n\\r\\n'); say(await all(kept.s)); process.exit(0) })
      lost.s.on('error', () => {}); lost.s.on('close', () => say('cut')); lost.s.resume(); say('open')`
    const exec = await box.spawn(insideArgv(program), { stdin: 'stream' })
    let said = ''
    for await (const chunk of exec.output) {
      if (!('bytes' in chunk)) continue
      const before = said
      said += chunk.bytes.toString()
      if (said.includes('"open"') && !before.includes('"open"')) await box.network.deny('api.example.test')
      if (said.includes('"cut"') && !before.includes('"cut"')) await exec.stdin?.end()
    }
    expect(said).toContain('hello from example.test')
    expect((await records()).find(({ end }) => end === 'policy')).toMatchObject({ name: 'api.example.test' })
  })

  test('a lost session cuts open connections with an error, and new ones work', async () => {
    const fresh = await world.create()
    const link = await world.interpose(fresh)
    const program = `
      const { s } = await tunnel('${ADDRESSES.web}:${PORTS.flood}'); let bytes = 0; let how = ''
      s.on('data', (d) => { if (bytes === 0) say('flowing'); bytes += d.length }); s.on('end', () => { how = 'ended in order' }); s.on('error', (e) => { how = e.code })
      await new Promise((done) => s.on('close', done)); say(how)
      const again = await tunnel('example.test:80'); say(again.head.slice(0, 12)); again.s.destroy()`
    const exec = await fresh.spawn(insideArgv(program), {})
    let said = ''
    for await (const chunk of exec.output) {
      if (!('bytes' in chunk)) continue
      if (!said.includes('flowing') && `${said}${chunk.bytes}`.includes('flowing')) link.cut()
      said += chunk.bytes.toString()
    }
    expect(
      said
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line)),
    ).toEqual(['flowing', 'ECONNRESET', 'HTTP/1.1 200'])
    link.dispose()
    await fresh.remove()
  })

  test('audit lets through and records, and the suggestion is the smallest list that would have done', async () => {
    const audited = await world.create({
      network: { mode: 'audit', allow: ['www.example.test', 'example.test'] } satisfies NetworkOption,
    })
    for (const url of ['http://example.test/', 'http://api.example.org/', `http://example.test:${PORTS.http2}/`])
      expect((await audited.exec(['wget', '-q', '-O', '-', url])).exitCode).toBe(0)
    const verdicts = (await Array.fromAsync(audited.network.log())).map(
      ({ name, port, verdict }) => `${name}:${port} ${verdict}`,
    )
    expect(verdicts).toEqual([
      'example.test:80 allowed',
      'api.example.org:80 audit',
      `example.test:${PORTS.http2} audit`,
    ])
    const { stdout } = await coppice.run(['network', 'suggest', audited.id])
    expect(stdout.trim().split('\n').sort()).toEqual(
      [`+ api.example.org`, `+ example.test:${PORTS.http2}`, '- www.example.test'].sort(),
    )
    expect((await coppice.run(['network', 'suggest', audited.id, '--apply'])).code).toBe(0)
    expect((await audited.network.get()).policy.allow.toSorted()).toEqual([
      'api.example.org',
      'example.test',
      `example.test:${PORTS.http2}`,
    ])
    await audited.remove()
  })

  test('the exec that asked is in the log, where its programs tell it', async () => {
    const exec = await box.spawn(['wget', '-q', '-O', '/dev/null', 'http://example.test/'], {})
    await exec.result
    expect((await records()).at(-1)).toMatchObject({ exec: exec.id, name: 'example.test' })
  })

  test('the gateway’s own upstream proxy is used', async () => {
    const behind = await openWorld(
      { egress: { resolvers: [ADDRESSES.resolver] } },
      { http_proxy: `http://${ADDRESSES.web}:${PORTS.proxy}`, https_proxy: `http://${ADDRESSES.web}:${PORTS.proxy}` },
    )
    const inside = await behind.create()
    expect((await inside.exec(['wget', '-q', '-O', '-', 'http://example.test/'])).stdout).toBe(
      'hello from example.test\n',
    )
    expect((await internet.seen()).proxied.join()).toContain('example.test')
    await behind.dispose()
  })

  test('an adopted sandbox keeps its policy and its way out', async () => {
    await box.network.set(['example.test'])
    await world.gateway.kill()
    await world.gateway.start()
    await Sandbox.connect(box.id, { client: world.client })
    expect((await wget('http://example.test/')).stdout).toBe('hello from example.test\n')
    expect((await wget('http://api.example.org/')).exitCode).toBe(1)
  })
})
