import { type Check, finding } from '../check.ts'
import { quoted } from '../faults.ts'
import { mountOf, mounts } from '../host/mounts.ts'
import { existing } from './room.ts'

/** Where links, renames and locks do not mean what the registry needs. */
const REMOTE = /^(nfs4?|cifs|smb3?|smbfs|9p|ceph|glusterfs|lustre|afs|virtiofs|fuse(\..*)?|vboxsf|prl_fs)$/
/** Where overlayfs cannot have its upper folder, or there are no hard links. */
const UNFIT = /^(overlay|aufs|vfat|exfat|msdos|ntfs3?|ecryptfs)$/

/** The kind of file system that the state folder is on. */
export const fileSystemCheck: Check = {
  id: 'state/file-system',
  async detect(ctx) {
    const { dir } = ctx.home
    const mount = mountOf(await existing(dir), await mounts())
    if (!mount)
      return [finding('unverified', `On which file system ${dir} is cannot be told.`, `findmnt -T ${quoted(dir)}`)]
    const { type, point, options } = mount
    ctx.note(`${dir} is on ${type}, mounted at ${point}.`)
    const at = { path: dir }
    const hint = `findmnt -T ${quoted(dir)}`
    if (options.includes('ro')) {
      return [
        finding(
          'error',
          `${dir} is on a file system that is mounted read-only.`,
          `mount -o remount,rw ${quoted(point)}`,
          at,
        ),
      ]
    }
    if (REMOTE.test(type)) {
      return [finding('error', `${dir} is on ${type}, a remote file system: state needs a local one.`, hint, at)]
    }
    if (UNFIT.test(type)) {
      return [finding('error', `${dir} is on ${type}, which cannot carry sandboxes (overlayfs, hard links).`, hint, at)]
    }
    if (type === 'tmpfs' || type === 'ramfs') {
      return [finding('warning', `${dir} is in memory (${type}): a reboot loses every sandbox and image.`, hint, at)]
    }
    return []
  },
}
