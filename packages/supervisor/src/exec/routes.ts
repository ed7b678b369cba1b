import { setTimeout as sleep } from 'node:timers/promises'
import { CoppiceError, encodeJsonFrame, FrameType } from '@coppice/protocol/wire'
import { AckSender, ackFrame } from '../session/ack-sender.ts'
import { isCut, requestBody } from '../session/body.ts'
import { FrameStream } from '../session/frame-stream.ts'
import { readJson, respondJson, respondNothing } from '../session/responses.ts'
import type { Request, Routes } from '../session/router.ts'
import { type Validators, valid } from '../validators.ts'
import { sendOutput } from './output-stream.ts'
import type { ExecTable } from './table.ts'
import type { ExecView } from './view.ts'

/**
 * A stream that is reset looks the same whether its client went away or its gateway is being ended; in the second case the
 * session follows within this time.
 */
const CLIENT_OR_SESSION_MS = 100

/** The routes of execs. */
export function execRoutes(table: ExecTable, validators: Validators): Routes {
  return {
    'GET /execs': ({ stream }) => respondJson(stream, { execs: table.list() }),
    'GET /execs/:id': ({ stream, param }) => respondJson(stream, table.get(param).info()),
    'POST /execs': async (request) => {
      const { stream, query } = request
      const view = await table.start(valid(validators.execSpec(await readJson(stream))))
      if (query.flag('detach')) return respondJson(stream, view.info())
      if (view.holders) hold(view, request)
      await answerOutput(request, view, {
        block: true,
        follow: query.text('follow') === undefined || query.flag('follow'),
      })
    },
    'GET /execs/:id/output': async (request) => {
      const { query, param } = request
      const view = table.get(param)
      const follow = query.flag('follow')
      if (follow && view.holders?.vacant) hold(view, request)
      await answerOutput(request, view, { block: query.flag('block'), follow })
    },
    'POST /execs/:id/stdin': (request) => takeStdin(table, request),
    'POST /execs/:id/signal': async ({ stream, param }) => {
      const { signal, tree } = valid(validators.signal(await readJson(stream)))
      await table.running(param).signal(signal, tree)
      respondNothing(stream)
    },
    'POST /execs/:id/resize': async ({ stream, param }) => {
      const { cols, rows } = valid(validators.resize(await readJson(stream)))
      table.running(param).resize(cols, rows)
      respondNothing(stream)
    },
  }
}

async function answerOutput(request: Request, view: ExecView, how: { block: boolean; follow: boolean }): Promise<void> {
  const from = request.query.count('from') ?? 0
  const frames = new FrameStream(request)
  await sendOutput(frames, view, { from, ...how })
}

/** Ties the exec to the client behind this stream. */
function hold(view: ExecView, request: Request): void {
  const { holders } = view
  holders?.add()
  void request.closed.then(async () => {
    if (!request.sessionLost() && !view.ended) await sleep(CLIENT_OR_SESSION_MS)
    holders?.remove(request.sessionLost() ? 'lost' : 'left')
  })
}

async function takeStdin(table: ExecTable, request: Request): Promise<void> {
  const { stream, query, param } = request
  let offset = query.count('offset') ?? 0
  const { stdin } = table.running(param)
  stdin.check(offset)
  const frames = new FrameStream(request)
  const acks = new AckSender(frames)
  try {
    for await (const chunk of requestBody(stream)) {
      await stdin.take(offset, chunk, () => !stream.destroyed)
      offset += chunk.length
      acks.send(stdin.acknowledged)
    }
    if (isCut(stream)) return
    if (query.flag('end')) await stdin.end()
    frames.end(ackFrame(stdin.acknowledged))
  } catch (error) {
    if (isCut(stream)) return
    frames.end(encodeJsonFrame(FrameType.error, stdin.acknowledged, CoppiceError.from(error).toBody()))
  }
}
