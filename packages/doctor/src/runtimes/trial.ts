import { chmod, copyFile, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Progress } from '@coppice/protocol/wire'
import { run } from '../host/command.ts'

/** Debian's package `busybox-static`: one program that needs nothing else. */
export const BUSYBOX = '/bin/busybox'

/**
 * A folder for trying something out, outside of the home, which a look must not change. Everybody may walk through it: a program
 * in a user namespace is an ordinary user for the host. It is removed afterwards.
 */
export async function inTrialFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'coppice-trial-'))
  try {
    await chmod(folder, 0o711)
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 20 })
  }
}

/** An OCI bundle that runs `busybox true`, with the configuration that the runtime itself suggests. */
export async function makeBundle(folder: string, runtime: string, progress: Progress): Promise<string> {
  const bundle = join(folder, 'bundle')
  const bin = join(bundle, 'rootfs', 'bin')
  await mkdir(bin, { recursive: true, mode: 0o755 })
  await copyFile(BUSYBOX, join(bin, 'busybox'))
  await chmod(join(bin, 'busybox'), 0o755)
  const spec = await run(runtime, ['spec'], progress, { cwd: bundle })
  if (spec?.exitCode !== 0) return bundle
  const config = JSON.parse(await readFile(join(bundle, 'config.json'), 'utf8')) as {
    process: { args: string[]; terminal: boolean; rlimits?: unknown }
    root: { readonly: boolean }
  }
  config.process = { ...config.process, args: ['/bin/busybox', 'true'], terminal: false }
  // What a host may not give (without CAP_SYS_RESOURCE) says nothing about the runtime.
  delete config.process.rlimits
  await writeFile(join(bundle, 'config.json'), JSON.stringify(config))
  return bundle
}
