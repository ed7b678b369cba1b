import { pipeline } from 'node:stream/promises'
import { type ArchivePrint, CoppiceError, Progress } from '@coppice/protocol'
import type { CheckpointDirectory } from '../checkpoints/directory.ts'
import { parseSecretSizes, takeSecrets } from '../images/build-secrets.ts'
import type { Images } from '../images/images.ts'
import type { Outcome } from '../images/transfers.ts'
import { type Call, type Handlers, HIJACKED } from './app.ts'
import { EventLines } from './event-lines.ts'
import { isOn } from './input.ts'
import { discardRest, endOf, leavable } from './request-body.ts'

type ImageRoutes =
  | 'listImages'
  | 'importImage'
  | 'knownArchive'
  | 'exportImage'
  | 'pullImage'
  | 'pushImage'
  | 'buildImage'
  | 'bootstrapImage'
  | 'removeImage'
  | 'pruneImages'

/**
 * The image store over HTTP.
 * @param pruneEngines has drivers' engines forget images whose layers are not among these
 * @param checkpoints whose images engines may keep
 */
export function imageHandlers(
  images: Images,
  pruneEngines: (kept: ReadonlySet<string>) => Promise<void>,
  checkpoints: CheckpointDirectory,
): Pick<Handlers, ImageRoutes> {
  return {
    listImages: () => images.list(),
    importImage: (call) => {
      const size = Number(call.request.headers['content-length'])
      const options = { ...call.query, ...(size > 0 ? { sizeBytes: size } : {}) }
      return events(call, (progress, _, body) => images.import(body, options, progress))
    },
    knownArchive: (call) => {
      const { size, tail, digest, ...options } = call.body as ArchivePrint & { digest?: string; name?: string }
      return images.known({ size, tail, ...(digest !== undefined && { digest }) }, options, new Progress(call))
    },
    exportImage: async (call) => {
      const { ref, ...options } = call.query as {
        ref: string
        format?: 'oci-archive' | 'docker-archive'
        name?: string
      }
      const archive = await images.export(ref, options, new Progress({ signal: call.signal }))
      const { sizeBytes, chunks } = archive
      call.reply.hijack()
      call.reply.raw.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': sizeBytes })
      // A store that fails half-way cuts the connection: the client misses bytes that it was told of.
      await pipeline(chunks, call.reply.raw).catch(() => call.reply.raw.destroy())
      // A client that was gone before has not had a byte of it read.
      archive.release()
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
      const { name, dockerfile, hidden, target, noCache, buildArg, registry, secret } = call.query as Record<
        string,
        string
      > &
        Record<'buildArg' | 'registry' | 'secret', string | string[] | undefined>
      const sizes = parseSecretSizes([secret ?? []].flat())
      const request = {
        noCache: isOn(noCache),
        buildArgs: buildArgs([buildArg ?? []].flat()),
        registries: [registry ?? []].flat(),
        ...(dockerfile === undefined ? {} : { dockerfile }),
        ...(target === undefined ? {} : { target }),
      }
      return events(call, async (progress, log, body) => {
        const { secrets, context } = await takeSecrets(body, sizes)
        const built = { chunks: context, ...(hidden === undefined ? {} : { hidden: Number(hidden) }) }
        return images.build(built, name as string, { ...request, secrets }, log, progress)
      })
    },
    bootstrapImage: (call) => {
      const { force } = call.body as { force: boolean }
      return events(call, async (progress) => ({ image: await images.bootstrap(force, progress), facts: {} }))
    },
    removeImage: (call) => images.remove(String(call.query.ref)),
    pruneImages: async () => {
      const pruned = await images.prune()
      await pruneEngines(await images.layerChains(checkpoints.ready().map(({ imageDigest }) => imageDigest)))
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
  work: (progress: Progress, log: (line: string) => void, body: AsyncGenerator<Buffer, void, void>) => Promise<Outcome>,
): Promise<typeof HIJACKED> {
  call.reply.hijack()
  const response = call.reply.raw
  response.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' })
  const lines = new EventLines(response)
  const progress = new Progress({ signal: call.signal, onEvent: (event) => lines.progress(event) })
  const body = leavable(call.request.raw)
  try {
    lines.last({ event: 'done', ...(await work(progress, (line) => lines.log(line), body)) })
  } catch (error) {
    const failure = CoppiceError.from(error)
    if (failure.code === 'internal') call.reply.log.error({ err: error }, 'an image operation failed')
    lines.last({ event: 'error', error: { ...failure.toBody() } })
  }
  await discardRest(call.request.raw, body)
  endOf(call.request.raw, response)
  return HIJACKED
}
