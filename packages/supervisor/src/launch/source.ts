import { readSync } from 'node:fs'
import { Socket } from 'node:net'

/** The most that a pipe can hold (F_SETPIPE_SZ for unprivileged users), and so all that an ended program can have left in one. */
const LARGEST_PIPE_BYTES = 1024 * 1024

/** Where the output of an exec comes from. */
export interface OutputSource {
  /** Starts to hand out chunks; each is valid during the call only. */
  start(onData: (chunk: Buffer) => void): void
  pause(): void
  resume(): void
  /** Resolves when nobody can write any more. */
  readonly ended: Promise<void>
  /** Hands out, now, what the program has left. Call it once the program has ended. */
  drain(): void
  /** From now on everything is read and thrown away, so that background children can go on writing. */
  discard(): void
}

/**
 * What every pipe is read into: the kernel fills it and the callback has it in one go. Buffers of their own would be dead at
 * once, and V8 lets those pile up.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(64 * 1024)

/** The reading end of a FIFO. */
export class PipeSource implements OutputSource {
  readonly #fd: number
  readonly #socket: Socket
  #onData: (chunk: Buffer) => void = () => {}
  readonly ended: Promise<void>

  constructor(fd: number) {
    this.#fd = fd
    const onread = {
      buffer: READ_BUFFER,
      callback: (bytes: number) => {
        this.#onData(READ_BUFFER.subarray(0, bytes))
        return true
      },
    }
    this.#socket = new Socket({ fd, readable: true, writable: false, onread })
    this.#socket.on('error', () => {})
    this.ended = new Promise((resolve) => this.#socket.once('close', () => resolve()))
  }

  /** The first line, before `start`. Undefined: it ended without one. */
  firstLine(): Promise<string | undefined> {
    return new Promise((resolve) => {
      let line = ''
      this.#onData = (chunk) => {
        line += chunk.toString('latin1')
        if (!line.endsWith('\n')) return
        this.#socket.pause()
        resolve(line)
      }
      this.#socket.resume()
      void this.ended.then(() => resolve(undefined))
    })
  }

  start(onData: (chunk: Buffer) => void): void {
    this.#onData = onData
    this.#socket.resume()
  }

  pause(): void {
    this.#socket.pause()
  }

  resume(): void {
    this.#socket.resume()
  }

  drain(): void {
    if (this.#socket.destroyed) return
    for (let left = LARGEST_PIPE_BYTES; left > 0; ) {
      const bytes = readNow(this.#fd, READ_BUFFER)
      if (bytes === 0) return
      this.#onData(READ_BUFFER.subarray(0, bytes))
      left -= bytes
    }
  }

  discard(): void {
    this.#onData = () => {}
    this.#socket.resume()
  }

  /** Text that lies in the pipe now, at most 4 KiB, for the message of a launch that failed. */
  peek(): string {
    const bytes = this.#socket.destroyed ? 0 : Math.min(4096, readNow(this.#fd, READ_BUFFER))
    return READ_BUFFER.toString('utf8', 0, bytes).trim()
  }

  destroy(): void {
    this.#socket.destroy()
  }
}

/** Reads what is there without waiting; 0 when nothing is, or when the writers have gone. */
function readNow(fd: number, buffer: Buffer): number {
  try {
    return readSync(fd, buffer, 0, buffer.length, null)
  } catch {
    return 0
  }
}
