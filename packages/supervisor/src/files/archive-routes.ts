import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { pipeline } from 'node:stream/promises'
import type { Tools } from '../paths.ts'
import { requestBody } from '../session/body.ts'
import { respondJson } from '../session/responses.ts'
import type { Request, Routes } from '../session/router.ts'
import { onPath } from './errors.ts'
import { makeFolders, ownerFor } from './ownership.ts'
import { requirePath } from './path.ts'
import { unpack } from './unpack.ts'

export interface ArchiveRoutesOptions {
  readonly tools: Tools
  /** Owner of what is unpacked when the request names none. */
  readonly defaultUser: string
}

/** HTTP/2's INTERNAL_ERROR: the reader must not take what it has for the whole. */
const INTERNAL_ERROR = 2

/** The routes of folders as tar archives; see path.ts for what follows symlinks. */
export function archiveRoutes({ tools, defaultUser }: ArchiveRoutesOptions): Routes {
  return {
    'GET /files/archive': (request) => pack(request, tools),
    'PUT /files/archive': async ({ stream, query }) => {
      const path = requirePath(query.bytes('path'))
      const owner = ownerFor(query.text('user'), defaultUser)
      const entries = await onPath(path, async () => {
        await makeFolders(path, 0o755, owner)
        return unpack(requestBody(stream), path, owner)
      })
      respondJson(stream, { entries })
    },
  }
}

/**
 * Sends a folder as busybox `tar` packs it: names as bytes, modes, symlinks, hard links, empty folders. Another process does
 * it, so that a large folder delays nobody. A file that could not be read to its end cuts the answer.
 */
async function pack({ stream, query }: Request, tools: Tools): Promise<void> {
  const path = requirePath(query.bytes('path'))
  const folder = await onPath(path, () => open(path, constants.O_RDONLY | constants.O_DIRECTORY))
  try {
    // The folder is handed over open: an argument could not say a name that is not UTF-8.
    const args = ['tar', '-c', '--numeric-owner', '-C', '/proc/self/fd/3', '-f', '-', '.']
    const child = spawn(tools.busybox, args, { stdio: ['ignore', 'pipe', 'pipe', folder.fd], env: {}, cwd: '/' })
    const ended = new Promise<number | null>((resolve) => {
      child.once('error', () => resolve(null))
      child.once('exit', resolve)
    })
    child.stderr?.resume()
    if (!child.stdout || stream.destroyed) return
    stream.respond({ ':status': 200, 'content-type': 'application/x-tar' })
    await pipeline(child.stdout, stream, { end: false }).catch(() => child.kill('SIGKILL'))
    if ((await ended) === 0) stream.end()
    else if (!stream.destroyed) stream.close(INTERNAL_ERROR)
  } finally {
    await folder.close()
  }
}
