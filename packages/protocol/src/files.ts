import { z } from 'zod'

/**
 * A path in a sandbox. Bytes that are not UTF-8 travel percent-encoded in the query (`%ff`), and in JSON as
 * `{"base64": …}` beside a lossy `path`.
 */
export const PathSchema = z
  .string()
  .min(1)
  .max(4096)
  .regex(/^[^\0]*$/, 'must not contain NUL')

export const FileStatSchema = z.object({
  path: z.string(),
  pathBase64: z
    .string()
    .optional()
    .describe('The exact bytes, present when `path` is not exact because the name is not UTF-8.'),
  type: z.enum(['file', 'directory', 'symlink', 'fifo', 'socket', 'device']),
  size: z.number(),
  mode: z.int().describe('Permission bits, setuid, setgid and sticky: 0 to 0o7777.'),
  uid: z.int(),
  gid: z.int(),
  mtimeMs: z.number(),
  target: z.string().optional().describe('Where a symlink points.'),
})

export type FileStat = z.infer<typeof FileStatSchema>

export const FileListSchema = z.object({ entries: z.array(FileStatSchema), truncated: z.boolean() })
export type FileList = z.infer<typeof FileListSchema>

export const MkdirSchema = z.object({
  path: PathSchema,
  parents: z.boolean().default(true),
  mode: z.int().min(0).max(0o7777).default(0o755),
  user: z.string().optional(),
})
export const MoveSchema = z.object({ from: PathSchema, to: PathSchema, overwrite: z.boolean().default(true) })
export const RemoveSchema = z.object({
  path: PathSchema,
  recursive: z.boolean().default(false),
  force: z.boolean().default(false),
})

export const UploadStateSchema = z.object({
  upload: z.string(),
  acknowledged: z.number().describe('Bytes that have arrived and need not be sent again.'),
  committed: z.boolean().describe('True when the target file has its new content.'),
})
export type UploadState = z.infer<typeof UploadStateSchema>
export type MkdirRequest = z.input<typeof MkdirSchema>
export type MoveRequest = z.input<typeof MoveSchema>
export type RemoveRequest = z.input<typeof RemoveSchema>
