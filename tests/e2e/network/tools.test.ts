import type { Sandbox } from '@coppice/sdk'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ADDRESSES, Internet } from '../../support/internet/index.ts'
import { importTools, TOOLS_IMAGE } from '../../support/tools-image.ts'
import { openWorld, type World } from '../../support/world.ts'

/** The tools that agents use, untouched, at repositories that stand for the internet's. */
describe('real tools through the session', { timeout: 180_000 }, () => {
  let internet: Internet
  let world: World
  let box: Sandbox

  beforeAll(async () => {
    world = await openWorld({ egress: { resolvers: [ADDRESSES.resolver] } })
    await importTools(world.client)
    // Last: others wait for it, and the image of tools may have to be made first.
    internet = await Internet.open()
    box = await world.create({
      from: TOOLS_IMAGE,
      network: ['deb.example.test', 'pypi.example.test', 'npm.example.test', 'git.example.test', 'example.test'],
    })
    await box.files.write('/home/user/ca.pem', internet.certificates.authority)
    await sh('sudo cp /home/user/ca.pem /usr/local/share/ca-certificates/test.crt && sudo update-ca-certificates')
  }, 900_000)
  afterAll(async () => {
    await world?.dispose()
    await internet?.close()
  }, 60_000)

  /** What a command line said. It must succeed. */
  async function sh(line: string): Promise<string> {
    const result = await box.exec(line)
    if (result.exitCode !== 0) throw new Error(`${line} ended with ${result.exitCode}: ${result.stderr.slice(-2000)}`)
    return result.stdout
  }

  test.each([
    ['apt-get --version', /^apt 2/],
    ['curl --version', /^curl \d/],
    ['wget --version', /^GNU Wget/],
    ['git --version', /^git version/],
    ['openssl version', /^OpenSSL/],
    ['python3 -m pip --version', /^pip \d/],
    ['python3 -m venv /tmp/venv && /tmp/venv/bin/pip --version', /^pip \d/],
    ['node --version', new RegExp(`^${process.version}`)],
    ['npm --version', /^11\./],
    ['id -un; sudo -n id -un', /^user\nroot\n$/],
  ])('the image has them: %s', async (command, answer) => {
    expect(await sh(command)).toMatch(answer)
  })

  test('apt-get install', async () => {
    await sh(
      "echo 'deb [trusted=yes] http://deb.example.test ./' | sudo tee /etc/apt/sources.list; sudo rm -rf /etc/apt/sources.list.d/*",
    )
    await sh('sudo apt-get -q update && sudo apt-get -q install -y coppice-hello')
    expect(await sh('dpkg -s coppice-hello')).toContain('install ok installed')
  })

  test('pip install, from a local index', async () => {
    await sh('python3 -m venv /home/user/venv')
    await sh(
      '/home/user/venv/bin/pip install --index-url https://pypi.example.test/simple/ --cert /etc/ssl/certs/ca-certificates.crt coppice-hello',
    )
    expect(await sh('/home/user/venv/bin/pip show coppice-hello')).toContain('Name: coppice-hello')
  })

  test('npm install', async () => {
    await sh(
      'mkdir -p /home/user/app && cd /home/user/app && npm init -y && npm install --registry http://npm.example.test coppice-hello',
    )
    expect(await sh('ls /home/user/app/node_modules')).toContain('coppice-hello')
  })

  test('git clone', async () => {
    await sh('git clone -q http://git.example.test/hello.git /home/user/hello')
    expect(await sh('git -C /home/user/hello log --oneline')).not.toBe('')
  })

  test('curl, over TLS, with a name that is in the log', async () => {
    expect(await sh('curl -sS https://example.test/')).toBe('hello from example.test\n')
    const records = await Array.fromAsync(box.network.log())
    expect(records.at(-1)).toMatchObject({ via: 'connect', name: 'example.test', port: 443, verdict: 'allowed' })
  })

  test('names, asked for by whom wants IPv4 addresses only where there is IPv4', async () => {
    expect(await sh('getent ahostsv4 example.test')).toMatch(/^198\.1[89]\.\d+\.\d+ +STREAM/)
    const asks = 'print(socket.getaddrinfo("example.test", 80, socket.AF_INET, 0, 0, socket.AI_ADDRCONFIG)[0][4][0])'
    expect(await sh(`python3 -c 'import socket; ${asks}'`)).toMatch(/^198\.1[89]\./)
    await sh('sudo apt-get -q -o Acquire::ForceIPv4=true -o Acquire::http::Proxy=false update')
  })

  test('what is not on the list is refused, and curl shows why', async () => {
    const refused = await box.exec('curl -sS http://api.example.org/')
    expect(refused.stdout).toContain(`coppice network set ${box.id} --allow api.example.org`)
  })
})
