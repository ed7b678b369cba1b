import { spawn } from 'node:child_process'
import { chmodSync, closeSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { CoppiceError, type Progress, type ResourceUse } from '@coppice/protocol/wire'
import type { SandboxSpec } from '../driver.ts'
import { identify, isAlive, type ProcessIdentity, signalProcess, waitGone } from '../host/process.ts'
import { processesWithVariable } from '../host/process-search.ts'
import { processTree } from '../host/process-tree.ts'
import type { Engine } from '../lifecycle/engine.ts'
import type { SandboxFolder } from '../lifecycle/folder.ts'
import { openInitLog } from '../lifecycle/logs.ts'
import type { SandboxRecord } from '../lifecycle/record.ts'
import { writeSupervisorConfig } from '../lifecycle/supervisor-config.ts'

/** How long killed processes get to be gone, milliseconds. */
const KILL_TIMEOUT_MS = 5000

/**
 * Sandboxes as ordinary processes of this host: the same init and supervisor, no walls. Every process of a sandbox descends from
 * one that carries its state folder in the environment; that is how they are found, also by a driver that did not start them.
 */
export class ProcessEngine implements Engine {
  async launch(folder: SandboxFolder, spec: SandboxSpec, fresh: boolean, progress: Progress): Promise<ProcessIdentity> {
    if (spec.readOnlyRoot) {
      throw new CoppiceError(
        'unsupported',
        'read_only_root_unsupported',
        'The process driver has no root file system of its own.',
        {
          hint: 'coppice create --driver oci',
        },
      )
    }
    if (fresh) mkdirSync(folder.state, { mode: 0o700 })
    chmodSync(folder.state, 0o700)
    writeSupervisorConfig(spec.runDir, spec.supervisor, process.getuid?.() ?? 0)
    progress.throwIfEnded()
    const init = await this.#spawn(folder, spec)
    const found = identify(init)
    if (found) return found
    throw new CoppiceError('unavailable', 'init_died', `The init of ${folder.id} ended at once.`, {
      retryable: false,
      facts: { log: readFileSync(folder.initLog, 'utf8').slice(-4096) },
    })
  }

  #spawn(folder: SandboxFolder, spec: SandboxSpec): Promise<number> {
    const log = openInitLog(folder)
    const bundle = spec.runtimeDir
    const child = spawn(join(bundle, 'tini'), ['-s', '--', join(bundle, 'busybox'), 'sh', join(bundle, 'init.sh')], {
      cwd: '/',
      // A session of its own: signals to the terminal or process group of whoever made it do not reach it.
      detached: true,
      stdio: ['ignore', log, log],
      env: {
        PATH: process.env.PATH ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        HOME: process.env.HOME ?? '/',
        COPPICE_RUNTIME_DIR: bundle,
        COPPICE_RUN_DIR: spec.runDir,
        COPPICE_STATE_DIR: folder.state,
        COPPICE_CGROUP_DIR: join(folder.path, 'no-cgroup'),
      },
    })
    closeSync(log)
    child.unref()
    return new Promise((resolve, reject) => {
      child.once('spawn', () => resolve(child.pid as number))
      child.once('error', (cause) => {
        const message = `The init could not be started: ${cause.message}.`
        reject(new CoppiceError('failed_precondition', 'runtime_unusable', message, { facts: { bundle }, cause }))
      })
    })
  }

  async kill(folder: SandboxFolder): Promise<void> {
    // The list is taken before the first dies: an orphan of another parent could not be told from any other process.
    for (let left = members(folder); left.length > 0; left = members(folder)) {
      const tree = processTree(left)
      for (const member of tree) signalProcess(member, 'SIGKILL')
      for (const member of tree) await waitGone(member, KILL_TIMEOUT_MS)
      if (left.some(isAlive)) throw stuck(folder, left)
    }
  }

  async release(folder: SandboxFolder): Promise<void> {
    await this.kill(folder)
  }

  async leftovers(): Promise<string[]> {
    return []
  }

  use(_folder: SandboxFolder, _record: SandboxRecord): ResourceUse {
    return {
      memoryBytes: null,
      memoryPeakBytes: null,
      memoryLimitBytes: null,
      cpuSeconds: null,
      pids: null,
      pidsLimit: null,
      cpusLimit: null,
      oomKills: null,
      at: Date.now(),
    }
  }

  initOomKilled(): boolean {
    return false
  }

  async intercept(): Promise<{ ok: boolean; detail: string }> {
    const detail =
      'The process driver has no network of its own: its programs reach what this host reaches (proxy variables lead them through the session).'
    return { ok: false, detail }
  }

  idle(): void {}
}

function members(folder: SandboxFolder): ProcessIdentity[] {
  return processesWithVariable(`COPPICE_STATE_DIR=${folder.state}`)
}

function stuck(folder: SandboxFolder, left: ProcessIdentity[]): CoppiceError {
  return new CoppiceError(
    'unavailable',
    'processes_do_not_die',
    `Processes of ${folder.id} do not end after SIGKILL.`,
    {
      facts: { pids: left.map(({ pid }) => pid) },
    },
  )
}
