import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type { EngineKind, Surroundings } from '@coppice/engines'
import { PrivateDocker, type PrivateEngine, PrivatePodman } from '@coppice/engines/testing'
import { Progress } from '@coppice/protocol/wire'
import type { Subject } from '../contract/subject.ts'
import type { DriverImage, LayerBlob, SandboxSpec, SavedFiles } from '../driver.ts'
import { createEngineDriver, type EngineDriver } from '../engine/driver.ts'
import { Names } from '../engine/names.ts'
import { mountsUnder } from '../host/mounts.ts'
import { makeBusyboxLayer } from './busybox-layer.ts'
import { SavedImages } from './saved-images.ts'
import { Workspace } from './workspace.ts'

/** A driver over a private Docker or Podman and a busybox image, for tests. */
export class EngineSubject implements Subject {
  readonly workspace: Workspace
  readonly engine: PrivateEngine
  readonly layer: LayerBlob
  #saved: Promise<SavedImages> | undefined

  private constructor(workspace: Workspace, engine: PrivateEngine) {
    this.workspace = workspace
    this.engine = engine
    this.layer = packLayer(makeBusyboxLayer(join(workspace.path, 'layer'), 0), join(workspace.path, 'layer.tar'))
  }

  /** The subject, or why the driver cannot be examined here. `flags`: more of dockerd's. */
  static async open(kind: EngineKind, ...flags: string[]): Promise<EngineSubject | { unavailable: string }> {
    const engine = kind === 'docker' ? await PrivateDocker.open(...flags) : await PrivatePodman.open()
    if ('unavailable' in engine) return engine
    const subject = new EngineSubject(await Workspace.make(), engine)
    const driver = subject.open()
    const { available, detail } = await driver.probe(Progress.none())
    await driver.close()
    if (available) return subject
    await subject.close()
    return { unavailable: detail }
  }

  /** What leads to the private engine and to no other. */
  get surroundings(): Surroundings {
    const env = { DOCKER_HOST: `unix://${this.engine.socket}`, CONTAINER_HOST: `unix://${this.engine.socket}` }
    return { env, home: this.workspace.path, uid: 0, run: async () => ({ because: 'there is no podman command' }) }
  }

  /** `pingMs`: how often the engine is asked for a sign of life. */
  open(pingMs = 200): EngineDriver {
    const { kind } = this.engine
    return createEngineDriver({
      home: this.workspace.home,
      engine: kind,
      surroundings: this.surroundings,
      pollMs: 100,
      pingMs,
    })
  }

  spec(changes: Partial<SandboxSpec> = {}): SandboxSpec {
    const spec = this.workspace.spec([], changes)
    spec.image.blobs ??= [this.layer]
    return spec
  }

  brokenSpec(): SandboxSpec {
    return this.spec({ runtimeDir: join(this.workspace.path, 'nothing-here') })
  }

  /** Through the engine's command line: namespaces, capabilities and filter of the sandbox, without a supervisor. */
  inside(id: string, argv: string[], user = '0:0'): Promise<{ exitCode: number; output: string }> {
    return this.engine.run('exec', '--user', user, this.container(id), ...argv)
  }

  async onTop(spec: SandboxSpec, saved: SavedFiles): Promise<DriverImage> {
    this.#saved ??= SavedImages.open(this.workspace, 0, true)
    return (await this.#saved).onTop(spec, saved)
  }

  /** Images that a save has made, marks of saves, containers that are held still. */
  async savingResidue(): Promise<string[]> {
    const engine = await this.engine.connect()
    const images = (await engine.images.list([], Progress.none())).flatMap(({ RepoTags }) => RepoTags ?? [])
    const containers = await engine.containers.list([], Progress.none())
    const root = join(this.workspace.home, 'drivers', this.engine.kind)
    return [
      ...images.filter((name) => name.includes(':saved-')),
      ...containers.filter(({ State }) => State === 'paused').map(({ Id }) => `${Id} is paused`),
      ...readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('saving.json')),
    ]
  }

  container(id: string): string {
    return new Names(this.workspace.home).container(id)
  }

  folder(id: string): string {
    return join(this.workspace.home, 'drivers', this.engine.kind, id)
  }

  async residue(): Promise<string[]> {
    const root = join(this.workspace.home, 'drivers', this.engine.kind)
    const folders = existsSync(root) ? readdirSync(root) : []
    const engine = await this.engine.connect()
    const containers = await engine.containers.list([], Progress.none())
    const volumes = (await this.engine.run('volume', 'ls', '--quiet')).output.split('\n').filter(Boolean)
    const names = containers.flatMap(({ Names: all }) => all)
    return [...folders, ...names, ...volumes, ...(await mountsUnder(this.workspace.path))]
  }

  async removeAll(): Promise<void> {
    const driver = this.open()
    for (const { id } of await driver.list(Progress.none())) await driver.remove(id, Progress.none())
    await driver.close()
  }

  async close(): Promise<void> {
    try {
      await this.removeAll()
    } finally {
      await this.engine.close()
      this.workspace.remove()
    }
  }
}

/** Packs a folder as the blob of a layer. `encoding` as the blob of a store may have it. */
export function packLayer(folder: string, file: string, encoding: LayerBlob['encoding'] = 'identity'): LayerBlob {
  mkdirSync(join(file, '..'), { recursive: true })
  execFileSync('tar', ['-C', folder, '--numeric-owner', '--owner=0', '--group=0', '--mtime=@0', '-cf', file, '.'])
  const diffId = digest(file)
  const path = encoding === 'identity' ? file : pack(file, encoding)
  return {
    diffId,
    digest: digest(path),
    sizeBytes: statSync(path).size,
    encoding,
    open: async () => createReadStream(path),
  }
}

function pack(file: string, encoding: 'gzip' | 'zstd'): string {
  execFileSync(encoding, ['--quiet', '--force', '--keep', file])
  return `${file}.${encoding === 'gzip' ? 'gz' : 'zst'}`
}

function digest(file: string): string {
  return `sha256:${createHash('sha256').update(readFileSync(file)).digest('hex')}`
}
