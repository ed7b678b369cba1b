import { Socket } from 'node:net'
import type { InputSink } from './launched.ts'

/** The writing end of a FIFO that a program reads as its standard input. */
export class PipeInput implements InputSink {
  readonly #socket: Socket
  #closed = false

  constructor(fd: number) {
    this.#socket = new Socket({ fd, readable: false, writable: true })
    this.#socket.on('error', () => {})
    this.#socket.once('close', () => {
      this.#closed = true
    })
  }

  write(chunk: Buffer): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false)
    return new Promise((resolve) => this.#socket.write(chunk, (error) => resolve(!error)))
  }

  end(): void {
    this.#socket.end(() => this.#socket.destroy())
  }

  destroy(): void {
    this.#socket.destroy()
  }
}
