import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CoppiceError, type ImageEvent, Progress } from '@coppice/protocol'
import type { Images } from '../images/images.ts'
import { type Call, type Handlers, HIJACKED } from './app.ts'

type ImageRoutes = 'listImages' | 'importImage' | 'exportImage' | 'bootstrapImage' | 'removeImage'

/** Milliseconds between two progress lines: people do not read faster, and a bar needs no more. */
const EVENT_INTERVAL_MS = 100

/** The image store over HTTP. */
export function imageHandlers(images: Images): Pick<Handlers, ImageRoutes> {
  return {
    listImages: () => images.list(),
    importImage: (call) => {
      const { name, format } = call.query as { name: string; format?: 'auto' | 'oci-archive' | 'rootfs' }
      return events(call, (progress) => images.import(call.request.raw as Readable, name, format ?? 'auto', progress))
    },
    exportImage: async (call) => {
      const { sizeBytes, chunks } = await images.export(String(call.query.ref), new Progress({ signal: call.signal }))
      call.reply.hijack()
      call.reply.raw.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': sizeBytes })
      // A store that fails half-way cuts the connection: the client misses bytes that it was told of.
      await pipeline(chunks, call.reply.raw).catch(() => call.reply.raw.destroy())
      return HIJACKED
    },
    bootstrapImage: (call) => {
      const { force } = call.body as { force: boolean }
      return events(call, (progress) => images.bootstrap(force, progress))
    },
    removeImage: (call) => images.remove(String(call.query.ref)),
  }
}

/** Answers with lines of JSON while `work` goes on; the last line is its outcome. */
async function events(
  call: Call,
  work: (progress: Progress) => Promise<Extract<ImageEvent, { event: 'done' }>['image']>,
): Promise<typeof HIJACKED> {
  call.reply.hijack()
  const response = call.reply.raw
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' })
  const send = (event: ImageEvent) => response.write(`${JSON.stringify(event)}\n`)
  let lastMessage = ''
  let lastAt = 0
  const progress = new Progress({
    signal: call.signal,
    onEvent: (event) => {
      const now = performance.now()
      if (event.message === lastMessage && now - lastAt < EVENT_INTERVAL_MS) return
      lastMessage = event.message
      lastAt = now
      if (!response.writableNeedDrain) send({ event: 'progress', ...event })
    },
  })
  try {
    send({ event: 'done', image: await work(progress) })
  } catch (error) {
    const failure = CoppiceError.from(error)
    if (failure.code === 'internal') call.reply.log.error({ err: error }, 'an image operation failed')
    send({ event: 'error', error: { ...failure.toBody() } })
  }
  response.end()
  return HIJACKED
}
