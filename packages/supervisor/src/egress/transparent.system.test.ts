import { spawnSync } from 'node:child_process'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { NAME_RANGE, RESOLVER_ADDRESS } from '@coppice/protocol/wire'
import { afterEach, expect, type TestContext, test } from 'vitest'
import { EgressEnd } from '../testing/egress-end.ts'
import { TestSandbox } from '../testing/sandbox.ts'

const NETWORK = { proxyPort: 61_439, dnsPort: 61_438, intercepts: [{ port: 80, at: 61_440 }] }

/** A network namespace with nothing but loopback, in which names' addresses lead to the supervisor, as drivers make it. */
const NAMESPACE = `
  set -e
  ip link set lo up
  ip route add local ${NAME_RANGE} dev lo
  ip route add local 203.0.113.0/24 dev lo
  echo 'table ip t { chain c { type nat hook output priority -100;
    ip daddr ${RESOLVER_ADDRESS} udp dport 53 dnat to :${NETWORK.dnsPort}
    ip daddr ${RESOLVER_ADDRESS} tcp dport 53 dnat to :${NETWORK.dnsPort}
    ip daddr { ${NAME_RANGE}, 203.0.113.0/24 } tcp dport 80 dnat to :61440
  }
  }' | nft -f -
  echo nameserver ${RESOLVER_ADDRESS} > "$0/resolv.conf"
  mount --bind "$0/resolv.conf" /etc/resolv.conf
  exec "$@"`

let sandbox: TestSandbox | undefined
afterEach(() => sandbox?.close())

async function start({ skip }: TestContext): Promise<{ sandbox: TestSandbox; end: EgressEnd }> {
  const probe = spawnSync('unshare', ['-nm', 'sh', '-c', 'ip link set lo up && nft list tables'], { encoding: 'utf8' })
  if (probe.status !== 0) skip(`no network namespace with nftables: ${probe.stderr || probe.error?.message}`)
  const dir = spawnSync('mktemp', ['-d'], { encoding: 'utf8' }).stdout.trim()
  sandbox = await TestSandbox.start({
    config: { network: NETWORK },
    wrapper: ['unshare', '-nm', 'sh', '-c', NAMESPACE, dir],
  })
  spawnSync('rm', ['-rf', join(dir)])
  return { sandbox, end: await EgressEnd.attach(sandbox) }
}

/** Without anything that knows of a proxy. */
const BARE = 'env -i PATH="$PATH"'

test('a program that knows no proxy resolves and connects, and the gateway is asked for the name', async (context) => {
  const { sandbox, end } = await start(context)
  const server = createServer((request, response) => response.end(`${request.url} for ${request.headers.host}\n`))
  end.serve((tunnel) => server.emit('connection', tunnel))
  const { stdout, stderr } = await sandbox.exec({ shell: `${BARE} curl -sS http://a.test/x http://b.test/y` })
  expect([stdout, stderr]).toEqual(['/x for a.test\n/y for b.test\n', ''])
  const opens = end.asks.filter((ask) => ask.t === 'open')
  expect(opens).toMatchObject([
    { via: 'transparent', host: 'a.test', port: 80, exec: null },
    { via: 'transparent', host: 'b.test', port: 80, exec: null },
  ])
  const tcp = await sandbox.exec({ shell: `${BARE} RES_OPTIONS=use-vc getent ahosts c.test` })
  expect(tcp.stdout).toMatch(/^198\.1[89]\./)
  server.closeAllConnections()
})

test('a connection that is refused is reset; one to an address of no name is, too, and nobody is asked', async (context) => {
  const { sandbox, end } = await start(context)
  end.onAsk = (ask) => {
    if (ask.t === 'name') end.tell({ t: 'name', id: ask.id, outcome: 'exists', message: '' })
    if (ask.t === 'open') end.refuse(ask.id, 'denied')
  }
  const refused = await sandbox.exec({ shell: `${BARE} curl -sS http://a.test/` })
  // Reset before or after it has told curl that it is connected.
  expect(refused.stderr).toMatch(/reset by peer|Couldn't connect/)
  const asked = end.asks.length
  const unknown = await sandbox.exec({ shell: `${BARE} curl -sS http://198.18.200.200/` })
  expect(unknown.stderr).toMatch(/reset by peer|Couldn't connect/)
  expect(end.asks.length).toBe(asked)
})

test('an address of an opted-in range is asked for as it is', async (context) => {
  const { sandbox, end } = await start(context)
  end.serve((tunnel, ask) => tunnel.end(`HTTP/1.0 200 OK\r\n\r\n${ask.via} ${ask.host}:${ask.port}\n`))
  const { stdout } = await sandbox.exec({ shell: `${BARE} curl -sS http://203.0.113.7/` })
  expect(stdout).toBe('transparent 203.0.113.7:80\n')
})

test('a program of the sandbox can have ports 53 and 80 for itself', async (context) => {
  const { sandbox, end } = await start(context)
  end.serve((tunnel, ask) => tunnel.end(`HTTP/1.0 200 OK\r\n\r\n${ask.host}\n`))
  const serve = `require('http').createServer((q, a) => a.end('own\\n')).listen(80, () => require('child_process').execFile('curl', ['-sS', 'http://127.0.0.1/', 'http://a.test/'], (e, out) => { console.log(out); process.exit() }))`
  const { stdout } = await sandbox.exec({
    argv: ['env', '-i', `PATH=${process.env.PATH}`, process.execPath, '-e', serve],
  })
  expect(stdout).toBe('own\na.test\n\n')
})
