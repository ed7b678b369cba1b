import { chmodSync, statSync, utimesSync } from 'node:fs'
import { join } from 'node:path'
import { readOpenFileLimit } from '@coppice/limits'
import { beforeEach, describe, expect, it } from 'vitest'
import { clockCheck } from '../host/clock.ts'
import { mountOf, parseMountinfo } from '../host/mounts.ts'
import { openFilesCheck } from '../host/open-files.ts'
import { detect, makeHome, plant, repair } from '../testing/home.ts'
import { configFileCheck } from './config-file.ts'
import { stateFolderCheck } from './folder.ts'
import { scratchCheck } from './scratch.ts'

let home: string
beforeEach(() => {
  home = makeHome()
  chmodSync(join(home, '..'), 0o755)
})

describe('the state folder', () => {
  it('is in order when it is new, and when it is not there', async () => {
    expect(await detect(stateFolderCheck, home)).toEqual([])
    expect(await detect(stateFolderCheck, join(home, 'nope'))).toEqual([])
  })

  it('that others can write, or whose secrets they can read, is told and repaired', async () => {
    chmodSync(home, 0o777)
    const token = plant(home, 'token', 'secret', 0o644)
    plant(home, 'registry/sandboxes/x', '')
    chmodSync(join(home, 'registry'), 0o755)
    const findings = await detect(stateFolderCheck, home)
    expect(findings).toMatchObject([
      { path: home, hint: `chmod 711 ${home}`, fixable: true },
      { path: token, hint: `chmod 600 ${token}`, fixable: true },
      { path: join(home, 'registry'), fixable: true },
    ])
    expect((await repair([stateFolderCheck], home)).checks[0]?.findings).toEqual([])
    expect([home, token].map((path) => (statSync(path).mode & 0o777).toString(8))).toEqual(['711', '600'])
  })

  it('is no file', async () => {
    const file = plant(home, 'file', '')
    expect(await detect(stateFolderCheck, file)).toMatchObject([{ severity: 'error', path: file }])
  })
})

describe('the configuration', () => {
  it.each(['{', '[]', '1'])('that is damaged is told: %s', async (text) => {
    plant(home, 'config.json', text)
    expect(await detect(configFileCheck, home)).toMatchObject([{ severity: 'error' }])
  })

  it('may be absent, or anything that a gateway can check', async () => {
    expect(await detect(configFileCheck, home)).toEqual([])
    plant(home, 'config.json', '{"maxSandboxes":3}')
    expect(await detect(configFileCheck, home)).toEqual([])
  })
})

describe('the scratch folder', () => {
  it('has to be there', async () => {
    const dir = join(home, 'nope')
    expect(await detect(scratchCheck, home, { env: { COPPICE_SCRATCH_DIR: dir } })).toMatchObject([
      { severity: 'error', path: dir, hint: `install -d -m 1777 ${dir}` },
    ])
  })

  it('in memory is told', async (ctx) => {
    if (statSync('/dev/shm', { throwIfNoEntry: false }) === undefined) return ctx.skip('this machine has no /dev/shm')
    const findings = await detect(scratchCheck, home, { env: { COPPICE_SCRATCH_DIR: '/dev/shm' } })
    expect(findings).toContainEqual(
      expect.objectContaining({ severity: 'warning', message: expect.stringContaining('in memory') }),
    )
  })
})

describe('open files', () => {
  it.each(['many', '0', '1023', '1.5', ''])('refuses the setting %j', async (value) => {
    expect(await detect(openFilesCheck, home, { env: { COPPICE_BUILD_NOFILE_LIMIT: value } })).toMatchObject([
      { severity: 'error', hint: expect.stringContaining('COPPICE_BUILD_NOFILE_LIMIT=') },
    ])
  })

  it('are too few when more are wanted than may be had', async () => {
    const env = { COPPICE_VM_BUILD_NOFILE_LIMIT: '99999999999' }
    const { hard } = await readOpenFileLimit()
    expect(await detect(openFilesCheck, home, { env })).toHaveLength(Number.isFinite(hard) ? 1 : 0)
  })
})

describe('the clock', () => {
  it('is behind what was written already', async () => {
    const file = plant(home, 'later', '')
    expect(await detect(clockCheck, home)).toEqual([])
    const tomorrow = Date.now() / 1000 + 86_400
    utimesSync(file, tomorrow, tomorrow)
    expect(await detect(clockCheck, home)).toMatchObject([{ severity: 'warning', path: file }])
  })

  it('of a gateway may not be another one', async () => {
    const gateway = {
      kind: 'running',
      url: 'http://x',
      version: '1',
      pid: null,
      local: false,
      date: Date.now() - 60_000,
    }
    expect(await detect(clockCheck, home, { gateway })).toMatchObject([{ message: expect.stringContaining('-60 s') }])
  })
})

describe('mounts', () => {
  it('are read with everything that may stand in a name', () => {
    const text =
      '22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n' +
      '36 22 0:31 / /tmp/a\\040b ro,nosuid shared:1 - tmpfs none rw,size=4k\nnonsense\n'
    const all = parseMountinfo(text)
    expect(all).toMatchObject([
      { point: '/', type: 'ext4', source: '/dev/vda' },
      { point: '/tmp/a b', type: 'tmpfs', options: ['ro', 'nosuid', 'rw', 'size=4k'] },
    ])
    expect(mountOf('/tmp/a b/c', all)?.type).toBe('tmpfs')
    expect(mountOf('/tmp/a bc', all)?.type).toBe('ext4')
  })
})
