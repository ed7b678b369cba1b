import { timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  CoppiceError,
  SESSION_VERSIONS,
  type SessionHello,
  SessionHelloSchema,
  type SessionWelcome,
} from '@coppice/protocol'
import { readFirstLine } from './hello.ts'

/**
 * Reads the hello of a connection, from whoever it is, and answers it. Undefined when it was refused; the socket is then ended.
 * @throws what `readFirstLine` throws
 */
export async function greet(
  socket: Socket,
  sandboxId: string,
  token: Buffer,
  leaseMs: number,
): Promise<SessionHello | undefined> {
  const refuse = (error: CoppiceError): undefined => {
    const welcome: SessionWelcome = { ok: false, error: { ...error.toBody() } }
    socket.end(`${JSON.stringify(welcome)}\n`)
    socket.destroySoon()
    return undefined
  }
  const hello = SessionHelloSchema.safeParse(parseJson(await readFirstLine(socket)))
  if (!hello.success) return refuse(new CoppiceError('invalid_argument', 'bad_hello', 'The hello could not be read.'))
  const presented = Buffer.from(hello.data.token)
  if (hello.data.sandboxId !== sandboxId || presented.length !== token.length || !timingSafeEqual(presented, token)) {
    return refuse(new CoppiceError('unauthenticated', 'bad_token', 'The token is not the one of this sandbox.'))
  }
  const version = SESSION_VERSIONS.find((known) => hello.data.versions.includes(known))
  if (version === undefined) {
    return refuse(
      new CoppiceError('unsupported', 'session_version', 'No common session protocol version.', {
        facts: { gateway: SESSION_VERSIONS, supervisor: hello.data.versions },
      }),
    )
  }
  const welcome: SessionWelcome = { ok: true, version, leaseMs }
  socket.write(`${JSON.stringify(welcome)}\n`)
  return hello.data
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
