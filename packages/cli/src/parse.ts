import { CoppiceError } from '@coppice/sdk'

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** A value on the command line that cannot be used. */
export function usageError(message: string, hint?: string): CoppiceError {
  return new CoppiceError('invalid_argument', 'usage', message, hint === undefined ? {} : { hint })
}

/** `30s`, `1.5h`, `250ms`; a bare number is seconds. In milliseconds, at least 1. */
export function parseDuration(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)?$/.exec(text)
  const ms = match ? Math.round(Number(match[1]) * (UNITS[match[2] ?? 's'] ?? 1000)) : 0
  if (ms >= 1 && ms <= 2_147_483_647) return ms
  throw usageError(`${JSON.stringify(text)} is not a duration.`, 'Write it like 30s, 5m or 1h; at most 24d.')
}

/** `1024`, `512m`, `2g`: MiB. */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)([mg])?i?b?$/i.exec(text)
  const mib = match ? Number(match[1]) * (match[2]?.toLowerCase() === 'g' ? 1024 : 1) : 0
  if (Number.isInteger(mib) && mib > 0) return mib
  throw usageError(`${JSON.stringify(text)} is not an amount of memory.`, 'Write it in MiB, like 1024, or like 2g.')
}

/** A number above 0, fractions allowed. */
export function parseNumber(text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && Number.isFinite(number) && number > 0) return number
  throw usageError(`${JSON.stringify(text)} is not a number above 0.`)
}

/** A whole number from 0. */
export function parseCount(text: string): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(number)) return number
  throw usageError(`${JSON.stringify(text)} is not a whole number.`)
}

/** Collects repeated `K=V` options. */
export function parsePair(text: string, sofar: Record<string, string> = {}): Record<string, string> {
  const equals = text.indexOf('=')
  if (equals < 1) throw usageError(`${JSON.stringify(text)} is not of the form NAME=VALUE.`)
  return { ...sofar, [text.slice(0, equals)]: text.slice(equals + 1) }
}

/** Collects repeated `--env`: `K=V`, or `K` alone for this process's own value. */
export function parseEnv(text: string, sofar: Record<string, string> = {}): Record<string, string> {
  if (text.includes('=') || text === '') return parsePair(text, sofar)
  const value = process.env[text]
  if (value === undefined)
    throw usageError(`The variable ${text} is not set here.`, `Give it a value: --env ${text}=VALUE`)
  return { ...sofar, [text]: value }
}

/** `TERM`, `SIGTERM` or a number, as a name that the gateway knows. */
export function parseSignal(text: string): string {
  const name = text.toUpperCase().replace(/^SIG/, '')
  if (/^[A-Z0-9+-]{1,10}$/.test(name)) return name
  throw usageError(`${JSON.stringify(text)} is not a signal.`, 'Write it like TERM, KILL or USR1.')
}

/** A port, 1 to 65535. */
export function parsePort(text: string): number {
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port >= 1 && port <= 65_535) return port
  throw usageError(`${JSON.stringify(text)} is not a port.`, 'A port is a number from 1 to 65535.')
}

/** `PORT` or `LOCAL:PORT`; a local port of 0 is any free one. */
export function parseForward(text: string): { local: number; port: number } {
  const [first = '', second, ...more] = text.split(':')
  if (more.length > 0) throw usageError(`${JSON.stringify(text)} is not [LOCAL:]PORT.`)
  if (second === undefined) return { local: parsePort(first), port: parsePort(first) }
  return { local: first === '0' ? 0 : parsePort(first), port: parsePort(second) }
}
