import { access } from 'node:fs/promises'
import { request } from 'node:http'
import type { Progress } from '@coppice/protocol/wire'
import { type Check, type Finding, finding } from '../check.ts'
import { firstLine, lastLine, run } from '../host/command.ts'

/** Milliseconds in which an engine that works has answered. */
const ANSWER_MS = 5_000

/** Docker, where it is installed: does its daemon answer, and which version is it? */
export const dockerCheck: Check = {
  id: 'engines/docker',
  async detect({ env, progress, note }) {
    const host = env.DOCKER_HOST ?? 'unix:///var/run/docker.sock'
    const client = await run('docker', ['--version'], progress, { limitMs: ANSWER_MS })
    if (!host.startsWith('unix://')) {
      return [finding('unverified', `DOCKER_HOST names ${host}, which is not looked at from here.`, 'docker version')]
    }
    const socket = host.slice('unix://'.length)
    const there = await access(socket).then(
      () => true,
      () => false,
    )
    if (!client && !there) {
      note('Docker is not installed; it is not needed.')
      return []
    }
    try {
      const { Version, ApiVersion } = await ask(socket, '/version', progress)
      note(`Docker ${Version}, API ${ApiVersion}.`)
      return []
    } catch (error) {
      return [unreachable(socket, error as NodeJS.ErrnoException)]
    }
  },
}

/** Podman, where it is installed. It has no daemon: running it is the only way to know. */
export const podmanCheck: Check = {
  id: 'engines/podman',
  limitMs: 20_000,
  async detect({ progress, note }) {
    const format = '{{.Version.Version}}, {{.Host.OCIRuntime.Name}}, cgroup {{.Host.CgroupsVersion}}'
    const ran = await run('podman', ['info', '--format', format], progress, { limitMs: 15_000 })
    if (!ran) {
      note('Podman is not installed; it is not needed.')
      return []
    }
    if (ran.exitCode === 0) {
      note(`Podman ${firstLine(ran.text)}.`)
      return []
    }
    const why = ran.exitCode === null ? 'it gave no answer' : lastLine(ran.text)
    return [finding('warning', `Podman is installed and does not work: ${why}`, 'podman info --log-level debug')]
  },
}

function unreachable(socket: string, error: NodeJS.ErrnoException): Finding {
  if (error.code === 'EACCES') {
    const message = `This user may not talk to Docker (${socket}).`
    return finding('warning', message, 'sudo usermod -aG docker "$USER"', { path: socket })
  }
  const message = `Docker is installed and its daemon does not answer on ${socket}: ${error.code ?? error.message}.`
  return finding('warning', message, 'systemctl start docker', { path: socket })
}

function ask(socketPath: string, path: string, progress: Progress): Promise<Record<string, unknown>> {
  const signal = AbortSignal.any([progress.signal, AbortSignal.timeout(ANSWER_MS)])
  return new Promise((resolve, reject) => {
    const call = request({ socketPath, path, signal, headers: { host: 'docker' } }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (chunk: string) => {
        text += chunk
        if (text.length > 1024 * 1024) call.destroy(new Error('its answer is too long'))
      })
      answer.on('error', reject)
      answer.on('end', () => {
        try {
          resolve(JSON.parse(text) as Record<string, unknown>)
        } catch {
          reject(new Error('its answer is no JSON'))
        }
      })
    })
    call.on('error', reject)
    call.end()
  })
}
