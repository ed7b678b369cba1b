import { statSync } from 'node:fs'
import type { Engine, EngineInfo } from '@coppice/engines'
import type { Progress } from '@coppice/protocol/wire'

/** Who root of a container is on this host. */
export interface ContainerRoot {
  uid: number
  gid: number
  /** It is an ordinary user out here: containers have a user namespace, and setuid programs in them harm nobody. */
  shifted: boolean
}

/**
 * From what an engine says about itself: a rootless one's containers belong to the user whose it is; one that remaps users has
 * the first id of the range in the name of its data folder (Docker's own way to keep the ranges apart).
 */
export async function containerRoot(engine: Engine, progress: Progress): Promise<ContainerRoot> {
  const found = known.get(engine) ?? rootOf(await engine.info(progress), engine.socket)
  known.set(engine, found)
  return found
}

/** An engine that is started with other settings is found anew. */
const known = new WeakMap<Engine, ContainerRoot>()

/** The same from an `info` that is there already. */
export function rootOf(info: EngineInfo, socket: string): ContainerRoot {
  const options = info.SecurityOptions ?? []
  if (info.Rootless === true || options.some((option) => option.startsWith('name=rootless'))) {
    const { uid, gid } = statSync(socket)
    return { uid, gid, shifted: true }
  }
  const remapped = /\/(\d+)\.(\d+)$/.exec(info.DockerRootDir ?? '')
  if (remapped && options.some((option) => option.startsWith('name=userns'))) {
    return { uid: Number(remapped[1]), gid: Number(remapped[2]), shifted: true }
  }
  return { uid: 0, gid: 0, shifted: false }
}
