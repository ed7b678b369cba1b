import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { CoppiceError, type ImageEvent, Progress } from '@coppice/protocol'
import type { Images } from '../images/images.ts'
import type { Outcome } from '../images/transfers.ts'
import { type Call, type Handlers, HIJACKED } from './app.ts'
import { isOn } from './input.ts'

type ImageRoutes =
  | 'listImages'
  | 'importImage'
  | 'exportImage'
  | 'pullImage'
  | 'pushImage'
  | 'buildImage'
  | 'bootstrapImage'
  | 'removeImage'
  | 'pruneImages'

/** Milliseconds between two progress lines: people do not read faster, and a bar needs no more. */
const EVENT_INTERVAL_MS = 100

/**
 * The image store over HTTP.
 * @param pruneEngines has drivers' engines forget images whose layers are not among these
 */
export function imageHandlers(
  images: Images,
  pruneEngines: (kept: ReadonlySet<string>) => Promise<void>,
): Pick<Handlers, ImageRoutes> {
  return {
    listImages: () => images.list(),
    importImage: (call) => {
      const size = Number(call.request.headers['content-length'])
      const options = { ...call.query, ...(size > 0 ? { sizeBytes: size } : {}) }
      return events(call, (progress) => images.import(call.request.raw as Readable, options, progress))
    },
    exportImage: async (call) => {
      const { ref, ...options } = call.query as {
        ref: string
        format?: 'oci-archive' | 'docker-archive'
        name?: string
      }
      const { sizeBytes, chunks } = await images.export(ref, options, new Progress({ signal: call.signal }))
      call.reply.hijack()
      call.reply.raw.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': sizeBytes })
      // A store that fails half-way cuts the connection: the client misses bytes that it was told of.
      await pipeline(chunks, call.reply.raw).catch(() => call.reply.raw.destroy())
      return HIJACKED
    },
    pullImage: (call) => {
      const { source, ...options } = call.body as { source: string; name?: string; platform?: string }
      return events(call, (progress) => images.pull(source, options, progress))
    },
    pushImage: (call) => {
      const { ref, target, importCommand } = call.body as { ref: string; target: string; importCommand?: string }
      return events(call, (progress) => images.push(ref, target, importCommand, progress))
    },
    buildImage: (call) => {
      const { name, dockerfile, target, noCache, buildArg } = call.query as Record<string, string> & {
        buildArg?: string | string[]
      }
      const request = {
        noCache: isOn(noCache),
        buildArgs: buildArgs([buildArg ?? []].flat()),
        ...(dockerfile === undefined ? {} : { dockerfile }),
        ...(target === undefined ? {} : { target }),
      }
      return events(call, (progress, log) => images.build(call.request.raw, name as string, request, log, progress))
    },
    bootstrapImage: (call) => {
      const { force } = call.body as { force: boolean }
      return events(call, async (progress) => ({ image: await images.bootstrap(force, progress), facts: {} }))
    },
    removeImage: (call) => images.remove(String(call.query.ref)),
    pruneImages: async () => {
      const pruned = await images.prune()
      await pruneEngines(await images.layerChains())
      return pruned
    },
  }
}

/** @throws `invalid_argument/bad_build_arg` */
function buildArgs(pairs: string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=')
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)]
      throw new CoppiceError(
        'invalid_argument',
        'bad_build_arg',
        `${JSON.stringify(pair.slice(0, 100))} is not NAME=VALUE.`,
      )
    }),
  )
}

/** Answers with lines of JSON while `work` goes on; the last line is its outcome. */
async function events(
  call: Call,
  work: (progress: Progress, log: (line: string) => void) => Promise<Outcome>,
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
    send({ event: 'done', ...(await work(progress, (line) => send({ event: 'log', line }))) })
  } catch (error) {
    const failure = CoppiceError.from(error)
    if (failure.code === 'internal') call.reply.log.error({ err: error }, 'an image operation failed')
    send({ event: 'error', error: { ...failure.toBody() } })
  }
  response.end()
  // What is left of a body that nobody wants any more.
  call.request.raw.resume()
  return HIJACKED
}
