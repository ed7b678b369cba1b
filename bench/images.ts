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

/** How fast images move, what that needs, how little of them moves twice, and what everybody else notices of it. */
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

/** By a gateway of its own, which finds this engine. */
async function withEngine(dir: string, docker: DockerEngine): Promise<Figure[]> {
  const world = await openWorld({}, { DOCKER_HOST: docker.host })
  try {
    return [...(await firstExec(dir, world, docker)), ...(await push(dir, world, docker))]
  } finally {
    await world.dispose()
  }
}
