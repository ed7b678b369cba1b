import type { IncomingHttpHeaders, ServerHttp2Stream } from 'node:http2'
import { CoppiceError } from '@coppice/protocol/wire'
import { Query } from './query.ts'
import { respondError } from './responses.ts'

/** One request on a session. */
export interface Request {
  readonly stream: ServerHttp2Stream
  readonly headers: IncomingHttpHeaders
  readonly query: Query
  /** What stands where the route has `:name`. */
  readonly param: string
  /** Resolves when the stream is over, whoever ended it; also when that was before somebody asked. */
  readonly closed: Promise<void>
  /** True when the session, not the caller's will, has ended the stream. */
  sessionLost(): boolean
}

export type Handler = (request: Request) => Promise<void> | void

/** Routes: `METHOD /path/with/:name`, at most one name each. */
export type Routes = Readonly<Record<string, Handler>>

interface Route {
  readonly method: string
  readonly segments: readonly string[]
  readonly handler: Handler
}

/** Finds the handler of a request and turns whatever it throws into an answer. */
export class Router {
  readonly #routes: Route[]

  constructor(routes: Routes) {
    this.#routes = Object.entries(routes).map(([name, handler]) => {
      const [method = '', path = ''] = name.split(' ')
      return { method, segments: path.split('/'), handler }
    })
  }

  handle(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, sessionLost: () => boolean): void {
    // A stream that is reset reports it here as well as by `close`; handlers look at `close`.
    stream.on('error', () => {})
    const closed = new Promise<void>((resolve) => stream.once('close', () => resolve()))
    void this.#dispatch({ stream, headers, closed, sessionLost }).catch((error) => respondError(stream, error))
  }

  async #dispatch(request: Omit<Request, 'query' | 'param'>): Promise<void> {
    const { headers } = request
    const target = headers[':path'] ?? '/'
    const mark = target.indexOf('?')
    const path = mark < 0 ? target : target.slice(0, mark)
    const segments = path.split('/')
    for (const route of this.#routes) {
      const param = route.method === headers[':method'] ? match(route.segments, segments) : undefined
      if (param === undefined) continue
      const query = new Query(mark < 0 ? '' : target.slice(mark + 1))
      return await route.handler({ ...request, query, param })
    }
    throw new CoppiceError('not_found', 'no_such_route', `There is no ${headers[':method']} ${path}.`)
  }
}

/** The named segment, empty when the route has none; undefined when the path is another one. */
function match(route: readonly string[], path: readonly string[]): string | undefined {
  if (route.length !== path.length) return undefined
  let param = ''
  for (const [index, segment] of route.entries()) {
    const given = path[index] as string
    if (segment.startsWith(':')) param = given
    else if (segment !== given) return undefined
  }
  return param
}
