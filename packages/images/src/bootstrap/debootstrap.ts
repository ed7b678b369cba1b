import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CoppiceError, type Progress } from '@coppice/protocol/wire'
import { diskFull } from '../faults.ts'
import { run } from '../host/run.ts'
import { DebootstrapReport } from './debootstrap-report.ts'
import type { Suite } from './host-suite.ts'

/** Beside what every Debian has (bash, coreutils, apt, …). */
const PACKAGES = ['ca-certificates', 'curl', 'git', 'procps', 'python-is-python3', 'python3', 'sudo']

/** As in the slim images of the field: no manuals, no translations; and no sync after every file, which nobody needs here. */
const DPKG_CONFIG = `force-unsafe-io
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
path-exclude=/usr/share/man/*
`

/**
 * A command of the host in mount and pid namespaces of its own: what it mounts and starts is gone when it ends, and it ends
 * with this process, however that ends.
 */
export function contained(argv: string[]): string[] {
  const namespaces = ['unshare', '--mount', '--propagation=private', '--pid', '--fork', '--kill-child', '--']
  return ['setpriv', '--pdeathsig=KILL', '--', ...namespaces, ...argv]
}

/**
 * Installs a small Debian into a new folder. Downloaded packages are kept in `cacheDir` for the next time. Throws
 * `failed_precondition/program_missing`, `unavailable/debootstrap_failed` with what it said last.
 */
export async function debootstrap(
  target: string,
  suite: Suite,
  cacheDir: string,
  report: (message: string, percent: number) => void,
  progress: Progress,
): Promise<void> {
  await mkdir(join(target, 'etc/dpkg/dpkg.cfg.d'), { recursive: true, mode: 0o755 })
  await writeFile(join(target, 'etc/dpkg/dpkg.cfg.d/coppice-lean'), DPKG_CONFIG)
  await mkdir(cacheDir, { recursive: true, mode: 0o700 })
  const reported = new DebootstrapReport(report)
  const options = [
    ...['--debian-installer', '--variant=minbase', '--force-check-gpg', `--cache-dir=${cacheDir}`],
    ...[`--components=${suite.components.join(',')}`, `--include=${PACKAGES.join(',')}`],
  ]
  const { status, stderr } = await run(
    contained(['debootstrap', ...options, suite.name, target, suite.mirror]),
    {
      onReport: (line) => reported.line(line),
      env: { DEBIAN_FRONTEND: 'noninteractive', ...(suite.proxy && { http_proxy: suite.proxy }) },
    },
    progress,
  )
  if (status === 0) return
  const log = (await readFile(join(target, 'debootstrap/debootstrap.log'), 'utf8').catch(() => '')).slice(-4000)
  if (/No space left on device/.test(log + stderr)) throw diskFull(target)
  const said = reported.error || stderr.trim().split('\n').at(-1) || `it ended with ${status}`
  throw new CoppiceError('unavailable', 'debootstrap_failed', `debootstrap could not install ${suite.name}: ${said}`, {
    facts: { suite: suite.name, mirror: suite.mirror, status, log },
    hint: `curl -I ${suite.mirror}/dists/${suite.name}/Release`,
  })
}
