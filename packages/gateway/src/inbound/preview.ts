import type { IncomingMessage, ServerResponse } from 'node:http'
import { CoppiceError } from '@coppice/protocol'
import { type PreviewAccess, presentedTokens, tokenCookie, withoutTokenQuery } from './access.ts'
import type { PreviewAddress, PreviewHosts } from './address.ts'
import type { Inward } from './exchange.ts'
import { bodyOf, countOf, inwardHeaders, isSecure } from './headers.ts'
import { isBrowser, redirect } from './refusal.ts'

/** What previews need to know of a sandbox; a record of the registry is one. */
export interface PreviewTarget {
  id: string
  name: string | null
  /** Ports that need no token. */
  publicPorts: readonly number[]
}

export interface PreviewOptions {
  access: PreviewAccess
  hosts: PreviewHosts
  /** By id or name, one that exists. @throws `not_found/…` */
  target: (idOrName: string) => PreviewTarget
}

/**
 * Decides what becomes of a request for a sandbox's port: undefined when it was answered (sent to the same address without its
 * token), else what goes into the sandbox. An upgrade has nothing to answer with, and takes its token with it.
 *
 * @throws `not_found/…`, `unauthenticated/bad_preview_token`, `invalid_argument/bad_request`
 */
export function admit(
  options: PreviewOptions,
  request: IncomingMessage,
  response: ServerResponse | undefined,
): Inward | undefined {
  const { port, target, path, queryToken } = readRequest(options, request)
  const { access } = options
  const presented = presentedTokens(request)
  const byQuery = queryToken !== undefined && access.opens(target.id, [queryToken])
  if (byQuery && response && isBrowser(request)) {
    redirect(request, response, localPath(path), tokenCookie(queryToken, isSecure(request)))
    return undefined
  }
  if (!byQuery && !target.publicPorts.includes(port) && !access.opens(target.id, presented)) {
    throw new CoppiceError(
      'unauthenticated',
      'bad_preview_token',
      queryToken === undefined && presented.length === 0
        ? `Port ${port} of sandbox ${target.id} is not public, and this request carries no token.`
        : `Port ${port} of sandbox ${target.id} is not public, and the token is not the one of this sandbox.`,
      { facts: { sandboxId: target.id, port }, hint: `coppice preview ${target.id} ${port}` },
    )
  }
  const headers = inwardHeaders(request, access, response === undefined)
  return { target: { sandboxId: target.id, port }, path, headers }
}

function readRequest(options: PreviewOptions, request: IncomingMessage) {
  const { access, hosts } = options
  if (countOf(request.rawHeaders, 'host') !== 1) throw badRequest('There must be one Host header')
  const address = hosts.parse(request.headers.host ?? '')
  if (!address) {
    throw new CoppiceError('not_found', 'not_a_preview', 'This host names no port of a sandbox.', {
      hint: 'coppice preview SANDBOX PORT',
    })
  }
  const { path, token: queryToken } = withoutTokenQuery(request.url ?? '')
  if (!path.startsWith('/') && !(path === '*' && request.method === 'OPTIONS'))
    throw badRequest('The request must name a path of its host')
  if (bodyOf(request) === 'bad') throw badRequest('The only transfer coding is chunked')
  const presented = [...presentedTokens(request), ...(queryToken === undefined ? [] : [queryToken])]
  const target = find(options, address, (id) => access.opens(id, presented))
  return { port: address.port, target, path, queryToken }
}

/** How a sandbox ended is told to those who hold its token, and to nobody else. */
function find(options: PreviewOptions, { sandbox }: PreviewAddress, opens: (id: string) => boolean): PreviewTarget {
  try {
    return options.target(sandbox)
  } catch (error) {
    const failure = CoppiceError.from(error)
    if (failure.code !== 'not_found' || opens(sandbox)) throw failure
    throw new CoppiceError('not_found', 'sandbox_not_found', `There is no sandbox ${sandbox}.`, { hint: 'coppice ls' })
  }
}

/** A path that begins with two slashes would be read as another host. */
function localPath(path: string): string {
  return /^\/[/\\]/.test(path) ? `/.${path}` : path
}

function badRequest(message: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'bad_request', `${message}.`)
}
