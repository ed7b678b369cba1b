import { createServer } from 'node:http'
import { CoppiceError, httpStatus, openApiDocument, type Route, type RouteId, routes } from '@coppice/protocol'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify'
import { z } from 'zod'
import { type Front, frontOptions, serve } from '../inbound/front.ts'
import type { Guard } from './guard.ts'
import { checked } from './input.ts'
import { discardRest } from './request-body.ts'

/** Largest JSON body, bytes: an exec's argv and environment may be 2 MiB each. Streamed bodies have no limit here. */
const MAX_JSON_BYTES = 8 * 1024 * 1024

/** Connections at one time. Each exec that is followed holds one. */
const MAX_CONNECTIONS = 16_384

/** A call whose query and JSON body have been checked against its route. */
export interface Call {
  params: Record<string, string>
  query: Record<string, unknown>
  body: unknown
  request: FastifyRequest
  reply: FastifyReply
  /** Aborted when the client goes away. */
  signal: AbortSignal
}

/** Answers a call: a value becomes JSON, undefined an empty answer. One that took the reply over returns `HIJACKED`. */
export type Handler = (call: Call) => unknown

/** Returned by handlers that have answered by themselves. */
export const HIJACKED = Symbol('hijacked')

export interface AppOptions {
  version: string
  guard: Guard
  logger: FastifyBaseLogger
  /** Every route that is not relayed. */
  handlers: Record<string, Handler>
  /** Every route that is. */
  relay: (route: Route, call: Call) => Promise<void>
  /** What is served beside the API: its requests never reach the routes. */
  front?: Front
}

/** The HTTP application: `routes` of the protocol, each checked against its schema, errors in one shape. */
export function buildApp(options: AppOptions): FastifyInstance {
  const app = Fastify({
    loggerInstance: options.logger,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: MAX_JSON_BYTES,
    serverFactory: (handler) => {
      const server = createServer({
        // Commands and uploads may take days. Headers still have to come within Node's 60 s.
        requestTimeout: 0,
        keepAliveTimeout: 75_000,
        ...frontOptions(options.front),
      })
      serve(server, handler, options.front)
      return server
    },
    forceCloseConnections: true,
    routerOptions: { maxParamLength: 256 },
  })
  app.server.maxConnections = MAX_CONNECTIONS
  app.addContentTypeParser('*', (_request, _payload, done) => done(null))
  app.setErrorHandler((error, _request, reply) => sendFailure(reply, error))
  app.setNotFoundHandler((request, reply) => {
    const message = `There is no ${request.method} ${request.url.slice(0, 200)}.`
    sendFailure(reply, new CoppiceError('not_found', 'no_route', message, { hint: 'GET /openapi.json' }))
  })
  const document = openApiDocument(options.version)
  app.addHook('onRequest', (request, _reply, done) => {
    const open = (request.routeOptions.config as { open?: boolean }).open === true
    options.guard.check(request.raw, open)
    done()
  })
  app.get('/openapi.json', { config: { open: true } }, () => document)
  const isRaw = (route: Route) => route.body === 'bytes'
  for (const route of routes as readonly Route[]) if (!isRaw(route)) addRoute(app, route, options)
  app.register((raw, _options, done) => {
    // Read by whoever streams them, whatever they say they are: a JSON file is bytes as well.
    raw.removeAllContentTypeParsers()
    raw.addContentTypeParser('*', (_request, _payload, parsed) => parsed(null))
    for (const route of routes as readonly Route[]) if (isRaw(route)) addRoute(raw, route, options)
    done()
  })
  return app
}

function addRoute(app: FastifyInstance, route: Route, options: AppOptions): void {
  const { query = z.object({}), body, answer } = route
  app.route({
    method: route.method,
    url: route.path,
    config: { open: route.open === true },
    handler: async (request, reply) => {
      const gone = new AbortController()
      reply.raw.once('close', () => {
        if (!reply.raw.writableFinished)
          gone.abort(new CoppiceError('cancelled', 'client_gone', 'The client went away.'))
      })
      const call: Call = {
        params: request.params as Record<string, string>,
        query: checked(query, request.query, 'query') as Record<string, unknown>,
        body: body === undefined || body === 'bytes' ? undefined : checked(body, request.body ?? {}, 'body'),
        request,
        reply,
        signal: gone.signal,
      }
      if (route.relayed) {
        await options.relay(route, call)
        return reply
      }
      const value = await options.handlers[route.id]?.(call)
      if (value === HIJACKED) return reply
      if (answer === 'none') return reply.code(204).send()
      return reply.send(value)
    },
  })
}

/** Any failure as the one error shape. Fastify's own errors (malformed JSON, too large) keep their status class. */
function sendFailure(reply: FastifyReply, error: unknown): void {
  const failure = asFailure(error)
  if (failure.code === 'internal') reply.log.error({ err: error }, 'a call failed inside the gateway')
  const body = { error: failure.toBody() }
  if (reply.request.raw.complete) void reply.code(httpStatus(failure.code)).send(body)
  else void sendWhileReceiving(reply, httpStatus(failure.code), JSON.stringify(body))
}

/** The answer is whole for who reads meanwhile; who sends all of a body first gets it after that. */
async function sendWhileReceiving(reply: FastifyReply, status: number, json: string): Promise<void> {
  reply.hijack()
  const { raw } = reply
  const head = { 'content-type': 'application/json; charset=utf-8', 'content-length': Buffer.byteLength(json) }
  raw.writeHead(status, { ...head, connection: 'close' })
  raw.write(json)
  await discardRest(reply.request.raw)
  raw.end()
}

function asFailure(error: unknown): CoppiceError {
  const { statusCode, message } = error as { statusCode?: number; message?: string }
  if (error instanceof CoppiceError || statusCode === undefined || statusCode >= 500) return CoppiceError.from(error)
  if (statusCode === 413) return new CoppiceError('resource_exhausted', 'body_too_large', 'The JSON body is too large.')
  return new CoppiceError('invalid_argument', 'bad_request', message ?? 'The request could not be read.')
}

/** The handlers of all routes that are not relayed, checked at compile time to be complete. */
export type Handlers = Record<Exclude<RouteId, RelayedRouteId>, Handler>
type RelayedRouteId = Extract<(typeof routes)[number], { relayed: true }>['id']
