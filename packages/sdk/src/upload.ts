import { newUploadId, type UploadState } from '@coppice/protocol/wire'
import { type ByteSource, exactly, knownLength, pieces } from './byte-source.ts'
import type { GatewayConnection } from './connection.ts'
import { query, type RemotePath } from './paths.ts'
import { ResumableSender } from './resumable-sender.ts'

export interface WriteOptions {
  /** Permission bits of the new file. Default 0o644, or what the file had. */
  mode?: number | undefined
  /** Owner of a new file: name or uid. Default: the sandbox's user. */
  user?: string | undefined
  /** Make missing folders above it. Default false. */
  parents?: boolean | undefined
  /** Bytes that a streamed source will give, when known: a source that gives another number fails, the target is untouched. */
  size?: number | undefined
  signal?: AbortSignal | undefined
}

/**
 * Writes a file as a whole or not at all: it appears under its name only when all bytes have arrived. Goes on over broken
 * connections from the acknowledged byte.
 */
export async function upload(
  connection: GatewayConnection,
  sandboxPath: string,
  path: RemotePath,
  source: ByteSource,
  options: WriteOptions,
): Promise<void> {
  const upload = newUploadId()
  const uploadPath = `${sandboxPath}/uploads/${upload}`
  const size = options.size ?? knownLength(source)
  const { user, parents, signal } = options
  const mode = options.mode?.toString(8)
  const sender = new ResumableSender<UploadState>(
    connection,
    {
      request: (offset) => ({
        method: 'PUT',
        path: `${sandboxPath}/files/content${query({ path, upload, offset, size, mode, user, parents })}`,
        headers: {
          'content-type': 'application/octet-stream',
          ...(size === undefined || size < offset ? {} : { 'content-length': size - offset }),
        },
      }),
      ask: async () => {
        const state = await connection.jsonOnce<UploadState>({ method: 'GET', path: uploadPath, signal })
        return state.committed
          ? { acknowledged: state.acknowledged, result: state }
          : { acknowledged: state.acknowledged }
      },
    },
    size === undefined ? pieces(source) : exactly(size, pieces(source)),
    signal,
  )
  try {
    await sender.run()
  } catch (error) {
    // What is not asked for again goes by itself after ten minutes; this only frees its room earlier.
    void connection.jsonOnce({ method: 'DELETE', path: uploadPath }).catch(() => {})
    throw error
  }
}
