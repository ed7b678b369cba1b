import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'
import type { EgressRefusal } from '@coppice/protocol'
import { refusalStatus } from '../refusal.ts'
import { rawHead } from './headers.ts'

/** What a program is told instead of what it asked for. */
export interface Answer {
  status: number
  rule: string
  text: string
}

/** A refusal as an answer. */
export function refusalAnswer({ kind, rule, message, hint }: EgressRefusal): Answer {
  return { status: refusalStatus(kind), rule, text: `${message}\n${hint}\n` }
}

/** A request that cannot be passed on. */
export function badRequest(sentence: string): Answer {
  return { status: 400, rule: 'malformed_request', text: `${sentence}\n` }
}

/** Answers a request; one whose body was not read takes its connection with it. */
export function sendAnswer(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  if (response.headersSent || response.destroyed) return
  const body = Buffer.from(answer.text)
  const headers = fields(answer, body.length)
  if (!request.complete) headers.push('Connection', 'close')
  response.writeHead(answer.status, headers)
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** The same for a connection that has no response object, whole, after which it is to be ended. */
export function answerBytes(answer: Answer): Buffer {
  const body = Buffer.from(answer.text)
  const line = `HTTP/1.1 ${answer.status} ${STATUS_CODES[answer.status] ?? ''}`
  return Buffer.concat([rawHead(line, [...fields(answer, body.length), 'Connection', 'close']), body])
}

function fields({ rule }: Answer, length: number): string[] {
  return [
    'Content-Type',
    'text/plain; charset=utf-8',
    'Content-Length',
    String(length),
    'Cache-Control',
    'no-store',
    'X-Coppice-Rule',
    // A rule may be somebody's words.
    rule.replace(/[^\x21-\x7e]/g, '?'),
  ]
}
