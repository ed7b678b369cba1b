import { readFile } from 'node:fs/promises'
import { posix } from 'node:path'
import type { ContainerInspection, Engine } from '@coppice/engines'
import { CoppiceError, type Progress } from '@coppice/protocol'

/** Go's `ModeDir` and `ModeSymlink`, as an engine tells what a path is. */
const MODE_DIRECTORY = 0x8000_0000
const MODE_SYMLINK = 0x0800_0000

/**
 * Why an engine cannot put a file into a folder of a running container so that the container sees it; undefined where it can.
 * The error is `not_found/folder_not_found`, `invalid_argument/not_a_folder` or `failed_precondition/folder_hidden`.
 */
export async function whyUnfit(
  engine: Engine,
  found: ContainerInspection,
  folder: string,
  progress: Progress,
): Promise<CoppiceError | undefined> {
  const { kind } = engine.dialect
  const name = found.Name.replace(/^\//, '')
  const facts = { container: name, folder }
  const hidden = async (path: string): Promise<CoppiceError | undefined> => {
    // Podman works in the container's own mounts, Docker beside them, on its file system and volumes alone.
    if (kind !== 'docker' || !(await isHidden(found, path))) return undefined
    const sentence = `${folder} in the container ${name} is a tmpfs or another mount of its own, where Docker puts nothing.`
    return new CoppiceError('failed_precondition', 'folder_hidden', sentence, {
      facts,
      hint: `coppice image push … container:${name}:/a/folder/on/its/disk`,
    })
  }
  const fault = await hidden(folder)
  if (fault || folder === '/') return fault
  const stat = await engine.containers.statPath(found.Id, folder, progress)
  if (stat === undefined) {
    return new CoppiceError('not_found', 'folder_not_found', `There is no folder ${folder} in the container ${name}.`, {
      facts,
      hint: `${kind} exec ${name} mkdir -p ${folder}`,
    })
  }
  if ((stat.mode & MODE_SYMLINK) !== 0) return hidden(stat.linkTarget || folder)
  if ((stat.mode & MODE_DIRECTORY) !== 0) return undefined
  return new CoppiceError('invalid_argument', 'not_a_folder', `${folder} in the container ${name} is no folder.`, {
    facts,
  })
}

/** True for what lies on a mount of the container that is none of its binds and volumes. */
async function isHidden({ State, HostConfig, Mounts }: ContainerInspection, folder: string): Promise<boolean> {
  const path = posix.normalize(`${folder}/`)
  const holds = (mount: string) => path.startsWith(posix.normalize(`${mount}/`))
  const shared = (Mounts ?? []).filter(({ Type }) => Type !== 'tmpfs').map(({ Destination }) => Destination)
  // Known without a look at the container's processes, which are not everybody's to look at.
  const told = [
    ...Object.keys(HostConfig.Tmpfs ?? {}),
    ...(Mounts ?? []).filter(({ Type }) => Type === 'tmpfs').map(({ Destination }) => Destination),
  ]
  const [deepest = '/'] = [...told, ...shared, ...(await mountPoints(State.Pid))]
    .filter(holds)
    .sort((one, other) => other.length - one.length)
  const point = posix.normalize(`${deepest}/`)
  return point !== '/' && !shared.some((mount) => point.startsWith(posix.normalize(`${mount}/`)))
}

/** Where a process has something mounted; none when that is not this user's to know. */
async function mountPoints(pid: number): Promise<string[]> {
  try {
    const lines = (await readFile(`/proc/${pid}/mountinfo`, 'utf8')).split('\n')
    return lines.flatMap((line) => {
      const point = line.split(' ')[4]
      return point === undefined
        ? []
        : [point.replaceAll(/\\(\d{3})/g, (_, octal) => String.fromCharCode(parseInt(octal, 8)))]
    })
  } catch {
    return []
  }
}
