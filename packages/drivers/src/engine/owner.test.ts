import { chownSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EngineInfo } from '@coppice/engines'
import { expect, test } from 'vitest'
import { rootOf } from './owner.ts'

const info = (more: Partial<EngineInfo>): EngineInfo => ({ ID: 'x', OSType: 'linux', MemoryLimit: true, ...more })

test('root of a container is root of the host, unless the engine says otherwise', () => {
  const found = rootOf(
    info({ DockerRootDir: '/var/lib/docker', SecurityOptions: ['name=seccomp,profile=default'] }),
    '/x',
  )
  expect(found).toEqual({ uid: 0, gid: 0, shifted: false })
})

test('an engine that remaps users has the first of its range in its data folder’s name', () => {
  const options = { DockerRootDir: '/var/lib/docker/231072.231073', SecurityOptions: ['name=userns'] }
  expect(rootOf(info(options), '/x')).toEqual({ uid: 231_072, gid: 231_073, shifted: true })
  // A data folder of such a name means nothing by itself.
  expect(rootOf(info({ DockerRootDir: '/srv/1.2' }), '/x').shifted).toBe(false)
})

test('a rootless engine’s containers belong to the user whose socket it is', () => {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-owner-'))
  try {
    const socket = join(dir, 'socket')
    writeFileSync(socket, '')
    if (process.getuid?.() === 0) chownSync(socket, 1234, 1235)
    const [uid, gid] = process.getuid?.() === 0 ? [1234, 1235] : [process.getuid?.(), process.getgid?.()]
    expect(rootOf(info({ SecurityOptions: ['name=rootless'] }), socket)).toEqual({ uid, gid, shifted: true })
    expect(rootOf(info({ Rootless: true }), socket)).toEqual({ uid, gid, shifted: true })
  } finally {
    rmSync(dir, { recursive: true })
  }
})
