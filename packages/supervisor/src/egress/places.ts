import type { Socket } from 'node:net'

/**
 * Connections of programs at one time. Twice what a gateway lets one sandbox have, so that it is the gateway that says no; and
 * few enough that a program which opens thousands takes no file descriptors from execs.
 */
export const MAX_PLACES = 1_024

/** Connections over the limit that are told so at one time. All others are reset unheard. */
export const MAX_REFUSING = 128

/** Bounds how many connections there are. */
export class Places {
  #taken = 0
  #refusing = 0

  /** `ok`: served until it is closed. `full`: it may be told so. `none`: not even that, and it has been reset. */
  take(socket: Socket): 'ok' | 'full' | 'none' {
    if (this.#taken < MAX_PLACES) {
      this.#taken += 1
      socket.once('close', () => {
        this.#taken -= 1
      })
      return 'ok'
    }
    // Nobody listens to what goes wrong with it.
    socket.on('error', () => {})
    if (this.#refusing < MAX_REFUSING) {
      this.#refusing += 1
      socket.once('close', () => {
        this.#refusing -= 1
      })
      return 'full'
    }
    socket.resetAndDestroy()
    return 'none'
  }
}
