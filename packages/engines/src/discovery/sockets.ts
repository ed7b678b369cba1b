import { access, constants, realpath } from 'node:fs/promises'
import type { Candidate, Strategy, Surroundings } from './strategy.ts'

/** Sockets at places where engines put them. */
export class SocketsStrategy implements Strategy {
  readonly name: string
  readonly #paths: (surroundings: Surroundings) => string[]

  constructor(name: string, paths: (surroundings: Surroundings) => string[]) {
    this.name = name
    this.#paths = paths
  }

  async find(surroundings: Surroundings): Promise<Candidate[] | { because: string }> {
    const paths = [...new Set(this.#paths(surroundings))]
    const found: Candidate[] = []
    const places = new Set<string>()
    for (const path of paths) {
      if (!(await exists(path))) continue
      // /var/run leads to /run: one that is silent is not waited for twice.
      const place = await realpath(path).catch(() => path)
      if (!places.has(place)) found.push({ address: path, from: path, chosen: false })
      places.add(place)
    }
    return found.length > 0 ? found : { because: `there is no ${paths.join(', no ')}` }
  }
}

/** False only when it is certain that there is nothing: a folder that may not be looked into is for the connection to report. */
async function exists(path: string): Promise<boolean> {
  try {
    await access(path, constants.F_OK)
    return true
  } catch (cause) {
    return (cause as NodeJS.ErrnoException).code === 'EACCES'
  }
}

export const usualDockerSockets = (): Strategy =>
  new SocketsStrategy('usual-sockets', () => ['/var/run/docker.sock', '/run/docker.sock'])

/** Rootless Docker, Docker Desktop, Rancher Desktop, Colima. */
export const rootlessDockerSockets = (): Strategy =>
  new SocketsStrategy('rootless-sockets', ({ env, home, uid }) => [
    `${env.XDG_RUNTIME_DIR || `/run/user/${uid}`}/docker.sock`,
    `${home}/.docker/run/docker.sock`,
    `${home}/.docker/desktop/docker.sock`,
    `${home}/.rd/docker.sock`,
    `${home}/.colima/default/docker.sock`,
  ])

export const usualPodmanSockets = (): Strategy =>
  new SocketsStrategy('usual-sockets', () => ['/run/podman/podman.sock'])

export const rootlessPodmanSockets = (): Strategy =>
  new SocketsStrategy('rootless-sockets', ({ env, uid }) => [
    `${env.XDG_RUNTIME_DIR || `/run/user/${uid}`}/podman/podman.sock`,
  ])
