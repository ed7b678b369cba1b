import { closeSync, constants, openSync } from 'node:fs'
import { Socket } from 'node:net'

/**
 * Hands the bytes of a fifo to `use`, to their end. It waits for a writer as for a connection: a file that is opened and read in a
 * thread would hold that thread, and with it the end of this process, until somebody writes.
 */
export async function withFifo<T>(path: string, use: (source: AsyncIterable<Buffer>) => Promise<T>): Promise<T> {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  const fifo = asSocket(file)
  const closed = new Promise((resolve) => fifo.once('close', resolve))
  // Who reads is told too.
  fifo.on('error', () => undefined)
  try {
    return await use(fifo)
  } finally {
    fifo.destroy()
    await closed
  }
}

function asSocket(file: number): Socket {
  try {
    return new Socket({ fd: file, readable: true, writable: false })
  } catch (error) {
    closeSync(file)
    throw error
  }
}
