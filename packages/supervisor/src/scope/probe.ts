import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { FifoStore } from '../launch/fifo.ts'
import type { Tools } from '../paths.ts'
import { CgroupScopes } from './cgroup-scopes.ts'
import { CgroupV1 } from './cgroup-v1.ts'
import { CgroupV2 } from './cgroup-v2.ts'
import type { KillScopes } from './kill-scope.ts'
import { SubreaperScopes } from './subreaper.ts'

/**
 * Finds out by trying which kind of scope works: a process is moved into a group. `cgroupDir` is the delegated cgroup or a path
 * that does not exist.
 */
export async function probeScopes(cgroupDir: string, fifos: FifoStore, tools: Tools): Promise<KillScopes> {
  const candidates = [() => cgroupV2(cgroupDir), () => cgroupV1(cgroupDir)]
  for (const candidate of candidates) {
    const scopes = candidate()
    if (scopes && (await canEnter(scopes, tools))) return scopes
  }
  return new SubreaperScopes(fifos, tools)
}

function cgroupV1(root: string): KillScopes | undefined {
  const there = ['memory', 'freezer'].every((controller) => existsSync(join(root, controller, 'cgroup.procs')))
  return there ? new CgroupScopes(new CgroupV1(root)) : undefined
}

function cgroupV2(root: string): KillScopes | undefined {
  return existsSync(join(root, 'cgroup.controllers')) ? new CgroupScopes(new CgroupV2(root)) : undefined
}

async function canEnter(scopes: KillScopes, tools: Tools): Promise<boolean> {
  try {
    await scopes.clear([])
    const scope = await scopes.create({ terminal: false })
    const code = await new Promise((resolve) => {
      const child = spawn(tools.busybox, ['sh', '-c', scope.entry.prologue], { stdio: 'ignore', env: {}, cwd: '/' })
      child.once('error', resolve)
      child.once('exit', resolve)
    })
    scope.release()
    return code === 0
  } catch {
    return false
  }
}
