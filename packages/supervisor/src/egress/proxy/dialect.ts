import type { EgressRefusal } from '@coppice/protocol/wire'
import type { Wanted } from '../asks.ts'

/** Bytes of a request's head, whichever way it is asked. What Node's own HTTP parser takes. */
export const MAX_HEAD_BYTES = 16 * 1024

/** What a program asks its proxy for, and how to answer it in its own words. */
export interface Request {
  readonly wanted: Wanted
  /** Said when the connection is there, before its bytes. Empty where the answer comes from outside. */
  readonly accepted: Buffer
  /** Said when it is not, before the end. */
  refusal(refusal: EgressRefusal): Buffer
}

/** What a program has sent is not a request. */
export class BadRequest extends Error {
  /** Said before the end. Empty: nothing that it would understand. */
  readonly answer: Buffer

  constructor(message: string, answer: Buffer) {
    super(message)
    this.answer = answer
  }
}

/**
 * The exec that made a request, as its proxy variables have told it to say. Anybody inside can say what he likes: it is for
 * the log, and only its shape is looked at.
 */
export function execId(user: string | undefined): string | null {
  return user !== undefined && /^ex-[0-9a-z]{16}$/.test(user) ? user : null
}

/** Bytes as a name: text that can be shown. Whether it is a name, and of what, is for the gateway to say. */
export function nameOf(bytes: Buffer): string | undefined {
  const name = bytes.toString('utf8')
  return name.length > 0 && name.length <= 1024 && !/[\s\p{C}\ufffd]/u.test(name) ? name : undefined
}
