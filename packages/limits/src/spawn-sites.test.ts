import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

/**
 * Builds, staging steps, imports, unpacks and VMs are begun through the guard of this package and nowhere else. This walks the
 * source of every package and knows three ways to go round it: starting programs with Node's own functions, starting
 * threads, and naming a program of that kind where the guard is not in reach.
 */

const PACKAGES = join(import.meta.dirname, '../..')

/** The guard itself. */
const GUARD = ['limits/src/guard.ts', 'limits/src/read-limit.ts']

/** Starts programs without the guard, and why that is right. Whole packages end in a slash. */
const NOT_BUILDS: Record<string, string> = {
  'cli/': 'starts the gateway and the doctor, and knows nothing of images',
  'doctor/': 'looks at the host; what it starts to see whether it can run builds nothing',
  'supervisor/': 'runs in the sandbox, whose limits are the image’s business',
  'drivers/src/host/command.ts': 'runc, mount and their like: they open a handful of files',
  'drivers/src/process/engine.ts': 'starts a sandbox, which has limits of its own',
  'engines/src/discovery/surroundings.ts': 'asks an engine’s program where its socket is',
  'gateway/src/state/lock.ts': 'flock, for an instant',
  'images/src/bootstrap/host-suite.ts': 'asks apt what this host is',
  'images/src/registry/credentials.ts': 'asks a credential program for a password',
  'images/src/unpack/user-namespace.ts':
    'holds a namespace open and opens nothing else; tar in it goes through host/run.ts',
  'runtime/src/shared-libraries.ts': 'asks ldd about one file; stageRuntime was admitted before',
}

/** Programs, and packages that start some, that build, pack, unpack or emulate. */
const HEAVY =
  /['"](tar|bsdtar|cpio|debootstrap|mmdebstrap|mksquashfs|unsquashfs|mkfs\.\w+|qemu-[\w-]+|skopeo|buildah|make|ninja|cargo|zig|npm|esbuild)['"]/

/** Names one without starting it on the host, and why that is right. */
const ONLY_NAMES: Record<string, string> = {
  'doctor/': 'boots nothing larger than a kernel that says hello, to see whether one boots',
  'supervisor/': 'busybox’s tar, in the sandbox',
  'images/src/host/programs.ts': 'which Debian package brings it',
  'images/src/unpack/unpacker.ts': 'whether it is installed; started by extract.ts',
  'images/src/bootstrap/customise.ts': 'a folder of that name',
  'runtime/src/bundle-supervisor.ts': 'loads the bundler; stageRuntime was admitted before',
  'runtime/src/validators-plugin.ts': 'a type of the bundler',
}

/** Starts a thread without the guard, and why that is right. */
const SMALL_THREADS: Record<string, string> = {
  'sdk/src/from/archive-digest.ts': 'reads one file, in the process of whoever uses the SDK',
}

const STARTS_PROGRAMS = /(?:from|import\(|require\()\s*['"](?:node:)?(?:child_process|cluster)['"]/
const ONLY_TYPES = /^import type [^;]*?from ['"](?:node:)?child_process['"]\n/gm
const STARTS_THREADS = /\bnew Worker\(/
const IN_REACH = /from ['"](@coppice\/limits|(\.\.?\/)+(host\/)?run\.ts)['"]/

interface Source {
  /** Relative to `packages/`. */
  path: string
  text: string
}

function sources(): Source[] {
  const found: Source[] = []
  for (const name of readdirSync(PACKAGES)) {
    const files = readdirSync(join(PACKAGES, name), { recursive: true, encoding: 'utf8' })
    for (const file of files) {
      const path = join(name, file)
      if (!/^[^/]+\/src\/.*\.(ts|mts|js|mjs)$/.test(path)) continue
      if (/\.test\.ts$|\/testing\/|\/testing\.ts$|\/contract[^/]*\.ts$|\/contract\//.test(path)) continue
      found.push({ path, text: readFileSync(join(PACKAGES, path), 'utf8') })
    }
  }
  return found
}

function isListed(path: string, list: Record<string, string>): boolean {
  return Object.keys(list).some((entry) => (entry.endsWith('/') ? path.startsWith(entry) : path === entry))
}

function startsPrograms(text: string): boolean {
  return STARTS_PROGRAMS.test(text.replace(ONLY_TYPES, ''))
}

const hint = 'Start it with `openFiles.spawn` of @coppice/limits, or say in this test why it is no such work.'

describe('work that opens many files', () => {
  const all = sources()

  it('is found in the source', () => {
    expect(all.length).toBeGreaterThan(200)
    expect(startsPrograms("import { spawn } from 'node:child_process'\n")).toBe(true)
    expect(startsPrograms("import {\n  spawn,\n} from 'child_process'\n")).toBe(true)
    expect(startsPrograms("const { spawn } = await import('node:child_process')")).toBe(true)
    expect(startsPrograms("import { createRequire } from 'node:module'\nrequire('child_process')")).toBe(true)
    expect(startsPrograms("import type { ChildProcess } from 'node:child_process'\n")).toBe(false)
    expect(HEAVY.test("run(['tar', '-x'])") && HEAVY.test("spawn('qemu-system-x86_64')")).toBe(true)
  })

  it('is started by nobody but the guard', () => {
    const round = all.filter(
      ({ path, text }) => startsPrograms(text) && !GUARD.includes(path) && !isListed(path, NOT_BUILDS),
    )
    expect(
      round.map(({ path }) => path),
      hint,
    ).toEqual([])
  })

  it('is not given to a thread that the guard has not admitted', () => {
    const round = all.filter(
      ({ path, text }) =>
        STARTS_THREADS.test(text) && !IN_REACH.test(text) && !isListed(path, { ...NOT_BUILDS, ...SMALL_THREADS }),
    )
    expect(
      round.map(({ path }) => path),
      hint,
    ).toEqual([])
  })

  it('is named only where the guard is in reach', () => {
    const round = all.filter(
      ({ path, text }) => HEAVY.test(text) && !IN_REACH.test(text) && !isListed(path, ONLY_NAMES),
    )
    expect(
      round.map(({ path }) => path),
      hint,
    ).toEqual([])
  })

  it('is excused only where it still stands', () => {
    for (const path of Object.keys(NOT_BUILDS).filter((entry) => !entry.endsWith('/'))) {
      const source = all.find((file) => file.path === path)
      expect(source && startsPrograms(source.text), path).toBe(true)
    }
    for (const path of Object.keys(SMALL_THREADS)) {
      const source = all.find((file) => file.path === path)
      expect(source && STARTS_THREADS.test(source.text), path).toBe(true)
    }
    for (const path of Object.keys(ONLY_NAMES).filter((entry) => !entry.endsWith('/'))) {
      const source = all.find((file) => file.path === path)
      expect(source && HEAVY.test(source.text), path).toBe(true)
    }
  })
})
