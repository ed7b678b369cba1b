import { randomBytes } from 'node:crypto'
import { chmodSync, copyFileSync, existsSync, mkdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { ContainerConfig, Engine, EngineInfo } from '@coppice/engines'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import type { DriverProbe, LayerBlob, SandboxSpec } from '../driver.ts'
import { maxOpenFiles } from '../host/limits.ts'
import { SandboxFolder } from '../lifecycle/folder.ts'
import { probeSupervisor } from '../lifecycle/supervisor-config.ts'
import { sandboxContainer } from './container.ts'
import type { EngineImages } from './images.ts'
import type { EngineLink } from './link.ts'
import type { Names } from './names.ts'
import { outputTail } from './output.ts'
import { rootOf } from './owner.ts'
import { preparePaths } from './paths.ts'
import { probeLayer } from './probe-layer.ts'

const TIMEOUT_MS = 25_000
const CLEAN_UP_MS = 10_000
const OLD_SECONDS = 300
const PROBE_LABEL = 'coppice.probe'
const PROBES = '.probe'
const BUSYBOX = '/bin/busybox'

export interface ProbeInput {
  root: string
  link: EngineLink
  names: Names
  images: EngineImages
}

/**
 * Runs one program in a container made exactly as a sandbox's is, and believes what the container itself says: that it sees this
 * host's files, and that filter and privileges are what was asked for.
 */
export async function probeEngine(input: ProbeInput, progress: Progress): Promise<DriverProbe> {
  try {
    const bounded = progress.within(TIMEOUT_MS)
    const { engine, from, attempts } = await input.link.find(bounded)
    const info = await engine.info(bounded)
    const refused = unsuitable(engine, info)
    if (refused) return { available: false, detail: refused }
    await runOnce(input, engine, info, bounded)
    const before = attempts.length === 0 ? '' : ` Before it: ${attempts.map(({ because }) => because).join('; ')}.`
    const version = `${engine.dialect.title} ${info.ServerVersion ?? ''}, API ${engine.apiVersion}, ${engine.socket}`
    return { available: true, detail: `${version} (found by ${from}), cgroup v${info.CgroupVersion ?? '?'}.${before}` }
  } catch (cause) {
    const error = CoppiceError.from(cause)
    return { available: false, detail: error.hint === undefined ? error.message : `${error.message} (${error.hint})` }
  }
}

/** What an engine says it cannot do and a sandbox cannot be without: never something weaker in silence. */
function unsuitable(engine: Engine, info: EngineInfo): string | undefined {
  const { title } = engine.dialect
  if (info.OSType !== 'linux') return `${title} runs ${info.OSType} containers here.`
  const limits = { memory: info.MemoryLimit, CPU: info.CpuCfsQuota, pids: info.PidsLimit }
  const missing = Object.entries(limits).flatMap(([name, has]) => (has === false ? [name] : []))
  if (missing.length > 0) return `${title} cannot enforce limits of ${missing.join(', ')} here (docker info).`
  if (!(info.SecurityOptions ?? []).some((option) => option.startsWith('name=seccomp'))) {
    return `${title} has no system call filter (seccomp) here.`
  }
  if (!existsSync(BUSYBOX)) return `${BUSYBOX} is missing: apt-get install busybox-static.`
  return undefined
}

async function runOnce(input: ProbeInput, engine: Engine, info: EngineInfo, progress: Progress): Promise<void> {
  await removeOld(input, engine, progress)
  const id = `probe-${randomBytes(4).toString('hex')}`
  const nonce = randomBytes(16).toString('hex')
  // Not among the sandboxes.
  const folder = new SandboxFolder(join(input.root, PROBES), id)
  mkdirSync(join(input.root, PROBES), { recursive: true, mode: 0o711 })
  const name = input.names.container(id)
  try {
    const container = await probeContainer(input, engine, info, folder, nonce, progress)
    await engine.containers.create(name, container, progress)
    await engine.containers.start(name, progress)
    const exitCode = await engine.containers.wait(name, progress)
    const said = (await outputTail(engine, name, 8192, progress)).toString('utf8')
    check(said, nonce, exitCode, container, engine)
  } finally {
    await engine.containers.remove(name, new Progress({ timeoutMs: CLEAN_UP_MS })).catch(() => {})
    rmSync(folder.path, { recursive: true, force: true })
    removeIfEmpty(join(input.root, PROBES))
  }
}

function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder)
  } catch {
    // Another probe is under way.
  }
}

/** What a probe has left that was killed. Not one that may be under way. */
async function removeOld({ names }: ProbeInput, engine: Engine, progress: Progress): Promise<void> {
  const before = Date.now() / 1000 - OLD_SECONDS
  for (const { Id, Names: called, Created } of await engine.containers.list([PROBE_LABEL], progress)) {
    const ours = called.some((name) => names.sandbox(name)?.startsWith('probe-'))
    if (ours && Created < before) await engine.containers.remove(Id, progress)
  }
}

async function probeContainer(
  { images }: ProbeInput,
  engine: Engine,
  info: EngineInfo,
  folder: SandboxFolder,
  nonce: string,
  progress: Progress,
): Promise<ContainerConfig> {
  const root = rootOf(info, engine.socket)
  const [runtimeDir, runDir] = [join(folder.path, 'bundle'), join(folder.path, 'socket')]
  for (const path of [folder.path, runtimeDir, runDir]) {
    mkdirSync(path, { mode: 0o711 })
    chmodSync(path, 0o711)
  }
  copyFileSync(BUSYBOX, join(runtimeDir, 'busybox'))
  chmodSync(join(runtimeDir, 'busybox'), 0o755)
  writeFileSync(join(runDir, 'nonce'), `${nonce}\n`, { mode: 0o644 })
  const spec = probeSpec(folder.id, probeLayer(), runtimeDir, runDir)
  const container = sandboxContainer({
    spec,
    paths: preparePaths(folder, spec, root, true),
    image: await images.ensure(engine, spec.image, progress),
    dialect: engine.dialect,
    shifted: root.shifted,
    maxOpenFiles: maxOpenFiles(),
  })
  const script =
    'b=/.coppice/busybox; read -r n </.coppice-run/nonce; echo "$n"; $b cat /proc/self/status; $b touch /.coppice-state/w'
  return { ...container, Entrypoint: ['/.coppice/busybox', 'sh', '-c', script] }
}

function check(said: string, nonce: string, exitCode: number, container: ContainerConfig, engine: Engine): void {
  const { title, kind } = engine.dialect
  if (exitCode === 0 && said === '') {
    throw new CoppiceError(
      'unavailable',
      'probe_failed',
      `A container of ${title} ran, and nothing of what it said was kept: its disk may be full.`,
      { retryable: false, hint: `${kind} system df` },
    )
  }
  if (exitCode !== 0 || !said.startsWith(nonce)) {
    throw new CoppiceError(
      'unavailable',
      'probe_failed',
      `A container of ${title} could not use this host's files (exit code ${exitCode}): ${said.trim().slice(-300)}`,
      { retryable: false },
    )
  }
  const wanted = container.HostConfig?.SecurityOpt?.includes('no-new-privileges') ? '1' : '0'
  const found = {
    Seccomp: field(said, 'Seccomp'),
    NoNewPrivs: field(said, 'NoNewPrivs'),
    CapInh: field(said, 'CapInh'),
  }
  if (found.Seccomp !== '2' || found.NoNewPrivs !== wanted || field(said, 'CapBnd') === FULL_CAPABILITIES) {
    throw new CoppiceError('unsupported', 'engine_too_weak', `${title} did not give a container the walls asked for.`, {
      facts: { found, wanted: { Seccomp: '2', NoNewPrivs: wanted } },
    })
  }
}

const FULL_CAPABILITIES = '000001ffffffffff'

function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(status)?.[1] ?? ''
}

function probeSpec(id: string, layer: LayerBlob, runtimeDir: string, runDir: string): SandboxSpec {
  return {
    id,
    hostname: 'probe',
    image: {
      digest: 'probe',
      layers: [],
      blobs: [layer],
      config: { env: {}, cwd: '/', user: '', entrypoint: [], cmd: [], labels: {} },
    },
    limits: { memoryMB: 64, cpus: 1, pids: 64 },
    readOnlyRoot: false,
    runtimeDir,
    runDir,
    supervisor: probeSupervisor(id),
    labels: { [PROBE_LABEL]: 'true' },
  }
}
