import type { Duplex } from 'node:stream'

/** Milliseconds that a program has to read a last answer and to close. */
const LINGER_MS = 2_000

/** After a last answer: cuts the connection if the program has not closed it in time. */
export function linger(duplex: Duplex, cut: () => void): void {
  const timer = setTimeout(cut, LINGER_MS)
  duplex.once('close', () => clearTimeout(timer))
}
