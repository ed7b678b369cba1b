import { constants } from 'node:fs'
import { access, readdir } from 'node:fs/promises'
import { join } from 'node:path'

/** Where distributions put kernels: folder, and the names in it. */
const PLACES: readonly { folder: string; name: RegExp; below?: string }[] = [
  { folder: '/boot', name: /^(vmlinuz|Image)/ },
  { folder: '/usr/lib/modules', name: /./, below: 'vmlinuz' },
  { folder: '/lib/modules', name: /./, below: 'vmlinuz' },
]

/** A kernel of this machine that this user can read: `COPPICE_KERNEL`, or the newest by name of the usual places. */
export async function findKernel(env: NodeJS.ProcessEnv): Promise<string | undefined> {
  if (env.COPPICE_KERNEL) return env.COPPICE_KERNEL
  for (const { folder, name, below } of PLACES) {
    const names = await readdir(folder).catch(() => [])
    for (const found of names
      .filter((one) => name.test(one))
      .sort()
      .reverse()) {
      const path = below === undefined ? join(folder, found) : join(folder, found, below)
      const readable = await access(path, constants.R_OK).then(
        () => true,
        () => false,
      )
      if (readable) return path
    }
  }
  return undefined
}
