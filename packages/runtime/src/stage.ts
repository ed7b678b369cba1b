import { chmod, mkdir, mkdtemp, open, readdir, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openFiles } from '@coppice/limits'
import { CoppiceError, Progress } from '@coppice/protocol/wire'
import { bundleSupervisor } from './bundle-supervisor.ts'
import { findInputs, type InputFile, type RuntimeArch } from './inputs.ts'
import { bundleLoader } from './loader.ts'
import { changedSince, isWhole, readStamp, stampName, takeMarks, writeStamp } from './stamp.ts'
import { type TreeEntry, treeDigest, writeTree } from './tree.ts'

export interface StageOptions {
  /** `COPPICE_HOME`: the bundle goes to `<home>/runtime/<digest>`. Either this or `cacheDir`. */
  home?: string
  /** The bundle goes to `<cacheDir>/<digest>`. */
  cacheDir?: string
  /** Default x64. */
  arch?: RuntimeArch
  /** The supervisor's entry file, absolute. Default: that of the supervisor package. */
  entry?: string
  /** Node's flags for the supervisor. Default: those that the supervisor package recommends. */
  flags?: string[]
  progress?: Progress
}

/** A bundle on the host, ready to be mounted read-only at `/.coppice`. */
export interface StagedRuntime {
  dir: string
  /** 64 hex digits over paths, executability and contents. */
  digest: string
}

const STALE_STAGING_MS = 3_600_000

const LOADER = 'ld.so'

/**
 * Stages the runtime bundle: Node, its loader and libraries, static busybox and tini, setpriv, node-pty, the supervisor and the
 * init script. The same inputs give the same digest. A few milliseconds when nothing has changed, about two seconds else.
 * Any number of processes may stage at once. Bundles are never changed or removed: sandboxes run from them.
 *
 * Throws `failed_precondition/runtime_input_missing` (the hint names the package), `unsupported/foreign_architecture`,
 * `internal/supervisor_bundle_failed`, `resource_exhausted/open_file_limit`.
 */
export async function stageRuntime(options: StageOptions): Promise<StagedRuntime> {
  const { arch = 'x64', progress = Progress.none() } = options
  const cacheDir = options.cacheDir ?? (options.home === undefined ? undefined : join(options.home, 'runtime'))
  if (cacheDir === undefined) throw new CoppiceError('invalid_argument', 'no_folder', 'Give either home or cacheDir.')
  const entry = options.entry ?? fileURLToPath(new URL('./main.ts', import.meta.resolve('@coppice/supervisor')))

  const name = stampName({ arch, entry, flags: options.flags ?? null })
  const known = await readStamp(cacheDir, name)
  if (known) return { dir: join(cacheDir, known), digest: known }

  progress.report('Staging the runtime bundle')
  await openFiles.admit()
  await mkdir(cacheDir, { recursive: true, mode: 0o755 })
  await removeStale(cacheDir)
  const staging = await mkdtemp(join(cacheDir, '.staging-'))
  try {
    const inputs = await findInputs(arch)
    const flags = options.flags ?? (await recommendedFlags())
    const before = await takeMarks([...inputs.map((input) => input.source), ...(await makerFiles(options))])
    const began = Date.now()
    const supervisor = await bundleSupervisor(entry)
    const marks = { ...before, ...(await takeMarks(supervisor.sources)) }
    const entries: TreeEntry[] = [
      ...inputs.filter(({ target }) => target !== LOADER),
      ...(await loaderOf(inputs)),
      { target: 'supervisor.mjs', content: supervisor.code, executable: false },
      { target: 'supervisor-flags', content: Buffer.from(`${flags.join(' ')}\n`), executable: false },
    ]
    const files = await writeTree(staging, entries, progress)
    const digest = treeDigest(files)
    await writeFile(join(staging, 'manifest.json'), JSON.stringify(files), { flush: true })
    await publish(staging, join(cacheDir, digest))
    // A source that was edited while it was being read could carry the new mark for the old content.
    if (!(await changedSince(supervisor.sources, began))) await writeStamp(cacheDir, name, digest, marks)
    return { dir: join(cacheDir, digest), digest }
  } finally {
    await rm(staging, { recursive: true, force: true })
  }
}

/** Gives the finished folder its final name. Whoever is second finds the same bundle there and is content. */
async function publish(staging: string, dir: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      await chmod(staging, 0o755)
      await rename(staging, dir)
      await using folder = await open(dirname(dir), 'r')
      return await folder.sync()
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code
      if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw cause
      if (await isWhole(dir)) return
      if (attempt > 0) throw cause
      // Damaged from outside. It moves away rather than being emptied: a sandbox may still run from it.
      await rename(dir, `${dir}.damaged-${Date.now()}`)
    }
  }
}

/** Staging folders of processes that were killed. */
async function removeStale(cacheDir: string): Promise<void> {
  for (const name of await readdir(cacheDir)) {
    if (!name.startsWith('.staging-')) continue
    const path = join(cacheDir, name)
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: Date.now() }))
    if (Date.now() - mtimeMs > STALE_STAGING_MS) await rm(path, { recursive: true, force: true })
  }
}

async function loaderOf(inputs: InputFile[]): Promise<TreeEntry[]> {
  const found = inputs.filter(({ target }) => target === LOADER)
  return Promise.all(
    found.map(async ({ target, source, executable }) => ({ target, executable, content: await bundleLoader(source) })),
  )
}

/** The supervisor package says which flags keep its process small. */
async function recommendedFlags(): Promise<string[]> {
  return ((await import(flagsUrl().href)) as { NODE_FLAGS: string[] }).NODE_FLAGS
}

function flagsUrl(): URL {
  return new URL('./node-flags.ts', import.meta.resolve('@coppice/supervisor'))
}

/** Files that are not in the bundle but decide what is: the schemas, this package, the bundler, the flags. */
async function makerFiles(options: StageOptions): Promise<string[]> {
  const folders = [import.meta.dirname, dirname(fileURLToPath(import.meta.resolve('@coppice/protocol')))]
  const files: string[] = []
  for (const folder of folders) {
    for (const name of await readdir(folder))
      if (name.endsWith('.ts') && !name.endsWith('.test.ts')) files.push(join(folder, name))
  }
  for (const tool of ['esbuild', 'ajv', 'zod']) files.push(fileURLToPath(import.meta.resolve(`${tool}/package.json`)))
  if (options.flags === undefined) files.push(fileURLToPath(flagsUrl()))
  return files
}
