import type { IncomingMessage, ServerResponse } from 'node:http'
import {
  CoppiceError,
  type ErrorBody,
  encodeFrame,
  encodeJsonFrame,
  FRAMES_MEDIA_TYPE,
  FrameType,
  HEARTBEAT_MS,
  httpStatus,
} from '@coppice/protocol'

/** The client's side of a relayed call: its request, the answer to it, and whether it is still there. */
export class RelayClient {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  readonly #gone = new AbortController()

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.request = request
    this.response = response
    response.once('close', () => {
      if (!response.writableFinished)
        this.#gone.abort(new CoppiceError('cancelled', 'client_gone', 'The client went away.'))
    })
    response.on('error', () => {})
    request.on('error', () => {})
  }

  /** Aborted when the client disconnects before its answer was complete. */
  get gone(): AbortSignal {
    return this.#gone.signal
  }

  /** Starts an answer of frames. */
  startFrames(): void {
    if (this.response.headersSent) return
    this.response.writeHead(200, { 'content-type': FRAMES_MEDIA_TYPE, 'cache-control': 'no-store' })
  }

  /** Ends the call with an error: as an HTTP status if nothing was sent yet, else as last frame. */
  fail(error: CoppiceError): void {
    if (this.response.destroyed || this.response.writableEnded) return
    if (this.response.headersSent) {
      this.response.end(encodeJsonFrame(FrameType.error, 0, error.toBody()))
      return
    }
    sendError(this.response, error.toBody(), httpStatus(error.code), !this.request.complete)
  }

  /** Sends heartbeat frames while the caller waits for a session. Returns what stops them. */
  heartbeats(): () => void {
    const beat = () => {
      if (this.response.headersSent && !this.response.writableNeedDrain)
        this.response.write(encodeFrame(FrameType.heartbeat, 0, 0))
    }
    const timer = setInterval(beat, HEARTBEAT_MS)
    return () => clearInterval(timer)
  }
}

/** @param close whether the connection must end because a request body is still on its way. */
export function sendError(response: ServerResponse, body: ErrorBody, status: number, close: boolean): void {
  const bytes = Buffer.from(JSON.stringify({ error: body }))
  const headers: Record<string, string | number> = {
    'content-type': 'application/json',
    'content-length': bytes.length,
  }
  if (close) headers.connection = 'close'
  response.writeHead(status, headers)
  response.end(bytes)
}
