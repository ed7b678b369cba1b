import type { EgressRefusal } from '@coppice/protocol/wire'
import type { Found, Intake } from '../intake.ts'
import { BadRequest, execId, nameOf, type Request } from './dialect.ts'

// RFC 1928 (SOCKS5), RFC 1929 (user and password), SOCKS4 and 4a. Only CONNECT: there is no datagram and no way in.

const VERSION_5 = 5
const CONNECT = 1
const NO_AUTHENTICATION = 0
const USER_AND_PASSWORD = 2
const NONE_ACCEPTABLE = 0xff
const ADDRESS_V4 = 1
const ADDRESS_NAME = 3
const ADDRESS_V6 = 4

/** General failure, for which there is no better word: too many, or no session. */
const GENERAL_FAILURE = 1
const COMMAND_NOT_SUPPORTED = 7
const ADDRESS_NOT_SUPPORTED = 8

/** Reply codes of SOCKS5. */
const REPLY: Record<EgressRefusal['kind'], number> = {
  denied: 2,
  unreachable: 3,
  no_such_name: 4,
  refused: 5,
  timeout: 6,
  limit: GENERAL_FAILURE,
}

const GRANTED_4 = 0x5a
const REJECTED_4 = 0x5b

/** Bytes of user and name in a SOCKS4 request. */
const MAX_STRING_BYTES = 1024

/**
 * The dialogue of SOCKS5 up to its request. `say` sends what the program must hear before it goes on.
 * @throws BadRequest
 */
export async function socks5Request(intake: Intake, say: (bytes: Buffer) => void): Promise<Request> {
  const methods = await intake.take(greeting)
  const method = [USER_AND_PASSWORD, NO_AUTHENTICATION].find((known) => methods.includes(known))
  if (method === undefined) {
    throw new BadRequest('no way to authenticate in common', Buffer.from([VERSION_5, NONE_ACCEPTABLE]))
  }
  say(Buffer.from([VERSION_5, method]))
  let exec: string | null = null
  if (method === USER_AND_PASSWORD) {
    exec = execId(await intake.take(credentials))
    say(Buffer.from([1, 0]))
  }
  const { host, port } = await intake.take(target)
  return {
    wanted: { via: 'socks', host, port, exec },
    accepted: reply5(0),
    refusal: ({ kind }) => reply5(REPLY[kind]),
  }
}

/**
 * A request of SOCKS4 or 4a.
 * @throws BadRequest
 */
export async function socks4Request(intake: Intake): Promise<Request> {
  const { host, port, user } = await intake.take(request4)
  return {
    wanted: { via: 'socks', host, port, exec: execId(user) },
    accepted: reply4(GRANTED_4),
    refusal: () => reply4(REJECTED_4),
  }
}

function greeting(bytes: Buffer): Found<number[]> {
  const end = 2 + (bytes[1] ?? 0)
  if (bytes.length < 2 || bytes.length < end) return undefined
  return { value: [...bytes.subarray(2, end)], used: end }
}

function credentials(bytes: Buffer): Found<string> {
  if (bytes.length > 0 && bytes[0] !== 1) throw new BadRequest('not RFC 1929', Buffer.from([1, 1]))
  const userEnd = 2 + (bytes[1] ?? 0)
  const end = userEnd + 1 + (bytes[userEnd] ?? 0)
  if (bytes.length < 2 || bytes.length <= userEnd || bytes.length < end) return undefined
  return { value: bytes.toString('latin1', 2, userEnd), used: end }
}

function target(bytes: Buffer): Found<{ host: string; port: number }> {
  if (bytes.length > 0 && bytes[0] !== VERSION_5) throw new BadRequest('not SOCKS5', reply5(GENERAL_FAILURE))
  if (bytes.length > 1 && bytes[1] !== CONNECT) throw new BadRequest('not CONNECT', reply5(COMMAND_NOT_SUPPORTED))
  if (bytes.length < 5) return undefined
  const type = bytes[3]
  const nameLength = bytes[4] as number
  const from = type === ADDRESS_NAME ? 5 : 4
  const length = type === ADDRESS_V4 ? 4 : type === ADDRESS_V6 ? 16 : type === ADDRESS_NAME ? nameLength : 0
  if (length === 0) throw new BadRequest('no such kind of address', reply5(ADDRESS_NOT_SUPPORTED))
  const end = from + length
  if (bytes.length < end + 2) return undefined
  const address = bytes.subarray(from, end)
  const host = type === ADDRESS_NAME ? nameOf(address) : type === ADDRESS_V4 ? address.join('.') : v6(address)
  const port = bytes.readUInt16BE(end)
  if (host === undefined || port === 0) throw new BadRequest('no such address', reply5(GENERAL_FAILURE))
  return { value: { host, port }, used: end + 2 }
}

function request4(bytes: Buffer): Found<{ host: string; port: number; user: string }> {
  if (bytes.length > 1 && bytes[1] !== CONNECT) throw new BadRequest('not CONNECT', reply4(REJECTED_4))
  if (bytes.length < 9) return undefined
  const userEnd = stringEnd(bytes, 8)
  if (userEnd === undefined) return undefined
  const port = bytes.readUInt16BE(2)
  const user = bytes.toString('latin1', 8, userEnd)
  const address = bytes.subarray(4, 8)
  // 4a: an address that nobody has, 0.0.0.x, says that a name follows.
  const named = address.readUInt32BE() >>> 8 === 0 && address[3] !== 0
  const nameEnd = named ? stringEnd(bytes, userEnd + 1) : userEnd
  if (nameEnd === undefined) return undefined
  const host = named ? nameOf(bytes.subarray(userEnd + 1, nameEnd)) : address.join('.')
  if (host === undefined || port === 0) throw new BadRequest('no such address', reply4(REJECTED_4))
  return { value: { host, port, user }, used: nameEnd + 1 }
}

function stringEnd(bytes: Buffer, from: number): number | undefined {
  const end = bytes.indexOf(0, from)
  if (end > from + MAX_STRING_BYTES || (end < 0 && bytes.length > from + MAX_STRING_BYTES)) {
    throw new BadRequest('too long', reply4(REJECTED_4))
  }
  return end < 0 ? undefined : end
}

function v6(address: Buffer): string {
  return Array.from({ length: 8 }, (_, index) => address.readUInt16BE(index * 2).toString(16)).join(':')
}

function reply5(code: number): Buffer {
  return Buffer.from([VERSION_5, code, 0, ADDRESS_V4, 0, 0, 0, 0, 0, 0])
}

function reply4(code: number): Buffer {
  return Buffer.from([0, code, 0, 0, 0, 0, 0, 0])
}
