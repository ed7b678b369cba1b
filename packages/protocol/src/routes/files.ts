import { z } from 'zod'
import { FileListSchema, FileStatSchema, MkdirSchema, MoveSchema, RemoveSchema, UploadStateSchema } from '../files.ts'
import { count, flag, type Route, SANDBOX } from './route.ts'

const path = z.string().min(1).max(16_384)

/** Files of a sandbox. */
export const fileRoutes = [
  {
    id: 'readFile',
    method: 'GET',
    path: `${SANDBOX}/files/content`,
    summary: 'Read a file, from an offset if given.',
    query: z.object({ path, offset: count, length: count }),
    answer: 'bytes',
    relayed: true,
  },
  {
    id: 'writeFile',
    method: 'PUT',
    path: `${SANDBOX}/files/content`,
    summary: 'Write a file, atomically; resumable by upload id and offset.',
    query: z.object({
      path,
      upload: z.string().max(64),
      offset: count,
      size: count,
      mode: z
        .string()
        .regex(/^[0-7]{1,4}$/)
        .optional(),
      user: z.string().max(256).optional(),
      parents: flag,
    }),
    body: 'bytes',
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'inspectUpload',
    method: 'GET',
    path: `${SANDBOX}/uploads/:upload`,
    summary: 'How much of an upload has arrived.',
    answer: UploadStateSchema,
    relayed: true,
  },
  {
    id: 'cancelUpload',
    method: 'DELETE',
    path: `${SANDBOX}/uploads/:upload`,
    summary: 'Throw an unfinished upload away.',
    answer: 'none',
    relayed: true,
  },
  {
    id: 'statFile',
    method: 'GET',
    path: `${SANDBOX}/files/stat`,
    summary: 'Type, size, mode, owner of a path.',
    query: z.object({ path, nofollow: flag }),
    answer: FileStatSchema,
    relayed: true,
  },
  {
    id: 'listFiles',
    method: 'GET',
    path: `${SANDBOX}/files/list`,
    summary: 'Entries of a folder.',
    query: z.object({ path, limit: count }),
    answer: FileListSchema,
    relayed: true,
  },
  {
    id: 'makeFolder',
    method: 'POST',
    path: `${SANDBOX}/files/mkdir`,
    summary: 'Make a folder.',
    body: MkdirSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'moveFile',
    method: 'POST',
    path: `${SANDBOX}/files/move`,
    summary: 'Rename a file or folder.',
    body: MoveSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'removeFile',
    method: 'POST',
    path: `${SANDBOX}/files/remove`,
    summary: 'Remove a file or folder.',
    body: RemoveSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'readArchive',
    method: 'GET',
    path: `${SANDBOX}/files/archive`,
    summary: 'A folder as tar.',
    query: z.object({ path }),
    answer: 'bytes',
    relayed: true,
  },
  {
    id: 'writeArchive',
    method: 'PUT',
    path: `${SANDBOX}/files/archive`,
    summary: 'Unpack a tar into a folder.',
    query: z.object({ path, user: z.string().max(256).optional() }),
    body: 'bytes',
    answer: z.object({ entries: z.int() }),
    relayed: true,
  },
] as const satisfies readonly Route[]
