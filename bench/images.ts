import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openWorld, type World } from '../tests/support/world.ts'
import type { DockerEngine } from './docker.ts'
import type { Figure } from './figures.ts'
import { execDuringImport } from './images/exec-during-import.ts'
import { firstExec } from './images/first-exec.ts'
import { importMemory, importSpeed } from './images/import.ts'
import { push } from './images/push.ts'
import { secondTransfer } from './images/second-transfer.ts'

/** How fast images move, how little of them moves twice, and what everybody else notices of it. */
export async function images(world: World, docker: DockerEngine | undefined): Promise<Figure[]> {
  const dir = mkdtempSync(join(tmpdir(), 'coppice-bench-images-'))
  try {
    return [
      ...(await importSpeed(dir, docker)),
      ...(await importMemory(dir)),
      ...(await secondTransfer(dir)),
      ...(await execDuringImport(dir, world)),
      ...(docker ? await withEngine(dir, docker) : []),
    ]
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

/** What a push into a container needs, up to 8 GiB: takes minutes, and 45 GiB of disk. */
export async function pushes(_world: World, docker: DockerEngine | undefined): Promise<Figure[]> {
  if (!docker) return []
  const dir = mkdtempSync(join(tmpdir(), 'coppice-bench-pushes-'))
  const world = await worldWith(docker)
  try {
    return await push(dir, world, docker)
  } finally {
    await world.dispose()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function withEngine(dir: string, docker: DockerEngine): Promise<Figure[]> {
  const world = await worldWith(docker)
  try {
    return await firstExec(dir, world, docker)
  } finally {
    await world.dispose()
  }
}

/** A gateway of its own, which finds this engine. */
function worldWith(docker: DockerEngine): Promise<World> {
  return openWorld({}, { DOCKER_HOST: docker.host })
}
