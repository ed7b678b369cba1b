import type { IncomingMessage, ServerResponse } from 'node:http'
import { CoppiceError, httpStatus } from '@coppice/protocol'

/** Headers of everything that this gateway itself says under the address of a sandbox. */
const OWN_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'",
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff',
}

/** The status of a failure towards somebody who asked for a sandbox's port, and not for the gateway's API. */
export function previewStatus(error: CoppiceError): number {
  if (error.reason === 'port_not_listening' || error.reason === 'bad_answer') return 502
  if (error.code === 'failed_precondition' || error.code === 'resource_exhausted') return 503
  return httpStatus(error.code)
}

/** Answers with a failure, as a page for those who take pages and as JSON for everybody else. */
export function refuse(request: IncomingMessage, response: ServerResponse, failure: unknown): void {
  if (response.destroyed || response.headersSent) {
    response.destroy()
    return
  }
  const error = CoppiceError.from(failure)
  const html = wantsPage(request)
  // Facts (a sandbox's last output) are for clients of the API: a public port has visitors.
  const { facts: _, ...told } = error.toBody()
  const body = Buffer.from(html ? page(error) : JSON.stringify({ error: told }))
  const headers: Record<string, string | number> = {
    ...OWN_HEADERS,
    'content-type': html ? 'text/html; charset=utf-8' : 'application/json',
    'content-length': body.length,
    'x-coppice-error': `${error.code}/${error.reason}`,
    vary: 'accept',
  }
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'coppice-token'
  // The rest of a body that nobody reads would be taken for the next request; and who sends nonsense sends more of it.
  if (!request.complete || error.code === 'invalid_argument') headers.connection = 'close'
  response.writeHead(previewStatus(error), headers)
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** Sends a browser to the same address without the token, with a cookie instead. */
export function redirect(request: IncomingMessage, response: ServerResponse, path: string, cookie: string): void {
  const headers: Record<string, string> = {
    ...OWN_HEADERS,
    location: path,
    'set-cookie': cookie,
    'content-length': '0',
  }
  if (!request.complete) headers.connection = 'close'
  // 307 keeps method and body, which 303 turns into a GET.
  response.writeHead(request.method === 'GET' || request.method === 'HEAD' ? 303 : 307, headers)
  response.end()
}

/** True for browsers: they follow redirects, keep cookies, and show their address. */
export function isBrowser(request: IncomingMessage): boolean {
  return request.headers['sec-fetch-mode'] !== undefined || wantsPage(request)
}

function wantsPage(request: IncomingMessage): boolean {
  return (request.headers.accept ?? '').toLowerCase().includes('text/html')
}

function page(error: CoppiceError): string {
  const hint = error.hint === undefined ? '' : `<pre>${escaped(error.hint)}</pre>`
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Coppice: ${escaped(error.reason)}</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42em;margin:10vh auto;padding:0 1em;color-scheme:light dark}
pre{padding:.8em 1em;border:1px solid;border-radius:4px;overflow:auto}small{opacity:.7}</style>
<h1>${escaped(TITLES[error.reason] ?? 'This port cannot be shown')}</h1>
<p>${escaped(error.message)}</p>${hint}<p><small>${escaped(`${error.code}/${error.reason}`)} · Coppice</small></p></html>
`
}

const TITLES: Record<string, string> = {
  bad_preview_token: 'This needs the address with its token',
  port_not_listening: 'Nothing listens there',
  not_running: 'The sandbox does not run',
  session_lost: 'The sandbox cannot be reached',
  sandbox_not_found: 'There is no such sandbox',
  not_a_preview: 'This is not the address of a port',
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
