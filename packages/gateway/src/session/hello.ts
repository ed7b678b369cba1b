import type { Socket } from 'node:net'
import { CoppiceError, HELLO_TIMEOUT_MS, MAX_HELLO_BYTES } from '@coppice/protocol'

/**
 * Reads the first line of a connection and puts what lies behind it back, so that HTTP/2 finds its preface.
 * @throws `invalid_argument` when the line is too long, `deadline_exceeded` when it is late, `unavailable` when the peer goes.
 */
export function readFirstLine(socket: Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    let held = Buffer.alloc(0)
    const timer = setTimeout(
      () => finish(new CoppiceError('deadline_exceeded', 'hello_late', 'No hello came in time.')),
      HELLO_TIMEOUT_MS,
    )
    const finish = (result: string | CoppiceError) => {
      clearTimeout(timer)
      socket.off('readable', onReadable).off('close', onClose).off('error', onClose)
      if (typeof result === 'string') resolve(result)
      else reject(result)
    }
    const onClose = () => finish(new CoppiceError('unavailable', 'hello_cut', 'The connection ended before its hello.'))
    const onReadable = () => {
      for (let chunk = socket.read(); chunk !== null; chunk = socket.read()) {
        held = Buffer.concat([held, chunk])
        const end = held.indexOf(0x0a)
        if (end >= 0 && end <= MAX_HELLO_BYTES) {
          if (end + 1 < held.length) socket.unshift(held.subarray(end + 1))
          finish(held.toString('utf8', 0, end))
          return
        }
        if (held.length > MAX_HELLO_BYTES) {
          finish(new CoppiceError('invalid_argument', 'hello_too_long', 'The hello is too long.'))
          return
        }
      }
    }
    socket.on('readable', onReadable).on('close', onClose).on('error', onClose)
    onReadable()
  })
}
