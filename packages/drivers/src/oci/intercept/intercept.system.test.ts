import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Progress } from '@coppice/protocol/wire'
import { describe, expect, type TestContext, test } from 'vitest'
import { conversation } from '../../contract/intercept-program.ts'
import { eventually } from '../../contract/subject.ts'
import type { Driver, DriverSandbox, InterceptPlan } from '../../driver.ts'
import { identify, type ProcessIdentity } from '../../host/process.ts'
import { addHostProgram } from '../../testing/host-program.ts'
import type { OciSubject } from '../../testing/oci-subject.ts'
import { openOci } from '../../testing/open-oci.ts'
import { DEFAULT_UID_BASE } from '../driver.ts'
import { intercept } from './intercept.ts'

const none = Progress.none()
const PLAN: InterceptPlan = {
  resolver: { address: '198.18.0.1', at: 61_438 },
  ranges: ['198.18.0.0/15'],
  ports: [{ port: 443, at: 61_441 }],
}

describe('the network of a sandbox', () => {
  let subject: OciSubject
  let driver: Driver
  const needsDriver = openOci((opened, its) => {
    subject = opened
    driver = its
    addHostProgram(subject.layer, '/usr/sbin/nft', '/usr/sbin/nft', DEFAULT_UID_BASE)
    addHostProgram(subject.layer, '/usr/bin/perl', '/usr/bin/perl', DEFAULT_UID_BASE)
  })

  const create = async (context: TestContext): Promise<DriverSandbox> => {
    needsDriver(context)
    return driver.create(subject.spec(), none)
  }
  const sh = async (id: string, script: string, user?: string): Promise<string> =>
    (await subject.inside(id, ['sh', '-c', script], user)).output.trim()
  /** What is in force in the network namespace of a process, as the host sees it. */
  const inForce = (pid: number): string =>
    execFileSync('nsenter', [`--net=/proc/${pid}/ns/net`, 'sh', '-c', 'nft list ruleset; ip route show table all'], {
      encoding: 'utf8',
    })

  test('is loopback alone, and the sandbox’s root can neither see nor change what leads connections', async (context) => {
    const { id, pid } = await create(context)
    const host = inForce(process.pid)
    await driver.intercept(id, PLAN, none)
    const before = inForce(pid as number)
    expect(before).toContain('table ip coppice')
    for (const refused of [
      ...['nft list ruleset', 'nft flush ruleset', 'nft delete table ip coppice', 'nft add table ip mine'],
      ...['ip route del local 198.18.0.0/15 dev lo table local', 'ip route add 8.8.8.8 dev lo', 'ip link set lo down'],
      ...['ip addr add 192.0.2.2/24 dev lo', 'echo 1 > /proc/sys/net/ipv4/ip_forward'],
    ]) {
      expect(await sh(id, `${refused} 2>&1 && echo done`)).toMatch(
        /Operation not permitted|not permitted|Read-only|denied/i,
      )
    }
    expect(await sh(id, 'ls /sys/class/net; grep -c : /proc/net/dev')).toBe('lo\n1')
    expect(inForce(pid as number)).toBe(before)
    expect(inForce(process.pid)).toBe(host)
  })

  test('keeps connections open while another plan takes the place of theirs', async (context) => {
    const { id } = await create(context)
    await driver.intercept(id, PLAN, none)
    const program = `
      import { existsSync, writeFileSync } from 'node:fs'
      import { connect, createServer } from 'node:net'
      createServer((socket) => socket.pipe(socket)).listen(61441, '0.0.0.0', () => {
        const client = connect(443, '198.18.3.4')
        client.once('data', () => {
          client.once('data', (text) => writeFileSync('/after', text))
          writeFileSync('/open', '')
          const timer = setInterval(() => existsSync('/replaced') && (clearInterval(timer), client.write('after')), 10)
        })
        client.write('before')
      })`
    const argv = conversation({ listen: [] }).with(-2, program)
    const running = subject.inside(id, [
      'sh',
      '-c',
      '"$@" & while [ ! -e /after ]; do sleep 0.01; done; kill $!',
      'sh',
      ...argv,
    ])
    const upper = (name: string): string => join(subject.folder(id), 'upper', name)
    await eventually('the connection', () => existsSync(upper('open')) || undefined)
    const ports = [...PLAN.ports, { port: 5432, at: 61_442 }]
    await driver.intercept(id, { ...PLAN, ranges: [...PLAN.ranges, '10.0.0.0/8'], ports }, none)
    await sh(id, 'echo > /replaced')
    await running
    expect(readFileSync(upper('after'), 'utf8')).toBe('after')
  })

  test('is left as it is where a program is missing, with the packages that have it', async (context) => {
    const { id, pid } = await create(context)
    const init = identify(pid as number) as ProcessIdentity
    const before = inForce(init.pid)
    const programs = join(subject.workspace.path, 'programs')
    mkdirSync(programs)
    for (const [missing, ...found] of [
      ['nsenter', '/bin/sh'],
      ['ip', '/usr/bin/nsenter', '/usr/sbin/nft'],
      ['nft', '/usr/sbin/ip'],
    ]) {
      for (const program of found) symlinkSync(program, join(programs, program.slice(program.lastIndexOf('/') + 1)))
      if (missing === 'nft') execFileSync('rm', [join(programs, 'nft')])
      expect(await intercept(init, PLAN, none, programs)).toEqual({
        ok: false,
        detail: expect.stringMatching(new RegExp(`${missing}: not found.*apt-get install nftables iproute2`)),
      })
      expect(inForce(init.pid)).toBe(before)
    }
    expect((await driver.intercept(id, PLAN, none)).ok).toBe(true)
  })

  test('is never that of another process that has got the PID, and never the host’s', async (context) => {
    const { pid } = await create(context)
    const host = inForce(process.pid)
    const init = identify(pid as number) as ProcessIdentity
    const ended = { ok: false, detail: expect.stringMatching(/has ended/) }
    expect(await intercept({ ...init, startTicks: init.startTicks + 1 }, PLAN, none)).toEqual(ended)
    expect(await intercept(identify(process.pid) as ProcessIdentity, PLAN, none)).toEqual(ended)
    expect(inForce(process.pid)).toBe(host)
  })

  test('lets every user listen on low ports and ping, as in Docker', async (context) => {
    const { id } = await create(context)
    const listens = 'socket(S, 2, 1, 6) && bind(S, pack("S n N x8", 2, 80, 0)) && listen(S, 1) or die "$!"; print "ok"'
    expect((await subject.inside(id, ['perl', '-e', listens], '1000:1000')).output).toBe('ok')
    const pings =
      'socket(S, 2, 2, 1) && send(S, pack("C2n3", 8, 0, 0, 1, 1), 0, pack("S n N x8", 2, 0, 2130706433)) or die "$!"; print "ok"'
    expect((await subject.inside(id, ['perl', '-e', pings], '1000:1000')).output).toBe('ok')
  })

  test('has a resolver file, which sandboxes from before there was one get when they start again', async (context) => {
    needsDriver(context)
    const spec = subject.spec({ hostname: 'my.box' })
    const { id } = await driver.create(spec, none)
    const made = await sh(id, 'cat /etc/resolv.conf')
    expect(made).toMatch(/^#.*\nnameserver 198\.18\.0\.1\nsearch \.\noptions timeout:10 attempts:2$/)
    const again = async (text: string): Promise<string> => {
      await sh(id, `printf '${text}' > /etc/resolv.conf`)
      await driver.stop(id, 10_000, none)
      await driver.start(spec, none)
      return sh(id, 'cat /etc/resolv.conf')
    }
    expect(await again('# This sandbox has no network but loopback.\\n')).toBe(made)
    expect(await again('nameserver 192.0.2.1\\n')).toBe('nameserver 192.0.2.1')
  })

  test('a link at the place of the resolver file leads nobody out when the sandbox starts again', async (context) => {
    needsDriver(context)
    const spec = subject.spec()
    const { id } = await driver.create(spec, none)
    const outside = join(subject.workspace.path, 'outside')
    writeFileSync(outside, '# This sandbox has no network but loopback.\n')
    expect(await sh(id, `rm /etc/resolv.conf && ln -s ${outside} /etc/resolv.conf && echo done`)).toBe('done')
    await driver.stop(id, 10_000, none)
    await driver.start(spec, none)
    expect(readFileSync(outside, 'utf8')).toBe('# This sandbox has no network but loopback.\n')
  })
})
