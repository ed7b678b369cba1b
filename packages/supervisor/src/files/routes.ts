import { chmod, mkdir } from 'node:fs/promises'
import { readJson, respondJson, respondNothing } from '../session/responses.ts'
import type { Routes } from '../session/router.ts'
import { type Validators, valid } from '../validators.ts'
import { readContent } from './content.ts'
import { onPath } from './errors.ts'
import { give, makeFolders, ownerFor } from './ownership.ts'
import { requirePath, splitPath } from './path.ts'
import { describe } from './stat.ts'
import { listFolder, movePath, removePath } from './tree.ts'
import { takeUpload } from './upload.ts'
import { requireUploadId, type UploadTable } from './uploads.ts'

export interface FileRoutesOptions {
  readonly uploads: UploadTable
  readonly validators: Validators
  /** Owner of new files when the request names none. */
  readonly defaultUser: string
}

/** The routes of files and folders; see path.ts for what follows symlinks. Everything is done as the supervisor's user, root. */
export function fileRoutes({ uploads, validators, defaultUser }: FileRoutesOptions): Routes {
  return {
    'GET /files/content': readContent,
    'PUT /files/content': (request) => takeUpload(request, uploads, defaultUser),
    'GET /uploads/:upload': async ({ stream, param }) =>
      respondJson(stream, await uploads.state(requireUploadId(param))),
    'DELETE /uploads/:upload': async ({ stream, param }) => {
      await uploads.discard(requireUploadId(param))
      respondNothing(stream)
    },
    'GET /files/stat': async ({ stream, query }) => {
      const path = requirePath(query.bytes('path'))
      respondJson(stream, await onPath(path, () => describe(path, !query.flag('nofollow'))))
    },
    'GET /files/list': async ({ stream, query }) => {
      const path = requirePath(query.bytes('path'))
      const limit = query.count('limit')
      respondJson(stream, await onPath(path, () => listFolder(path, limit)))
    },
    'POST /files/mkdir': async ({ stream }) => {
      const request = valid(validators.mkdir(await readJson(stream)))
      const path = requirePath(Buffer.from(request.path))
      const owner = ownerFor(request.user, defaultUser)
      await onPath(path, async () => {
        if (request.parents) {
          await makeFolders(splitPath(path).dir, 0o755, owner)
          if ((await describe(path, true).catch(() => undefined))?.type === 'directory') return
        }
        await mkdir(path)
        await give(path, owner)
        await chmod(path, request.mode)
      })
      respondNothing(stream)
    },
    'POST /files/move': async ({ stream }) => {
      const { from, to, overwrite } = valid(validators.move(await readJson(stream)))
      const source = requirePath(Buffer.from(from))
      await onPath(source, () => movePath(source, requirePath(Buffer.from(to)), overwrite))
      respondNothing(stream)
    },
    'POST /files/remove': async ({ stream }) => {
      const request = valid(validators.remove(await readJson(stream)))
      const path = requirePath(Buffer.from(request.path))
      await onPath(path, () => removePath(path, request.recursive, request.force))
      respondNothing(stream)
    },
  }
}
