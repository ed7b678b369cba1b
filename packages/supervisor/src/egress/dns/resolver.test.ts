import { expect, test } from 'vitest'
import { dnsQuery, readReply } from '../../testing/dns.ts'
import { NameTable } from '../names.ts'
import { type AskName, Resolver } from './resolver.ts'

const A = 1
const PTR = 12
const TXT = 16
const AAAA = 28
const HTTPS = 65
const NXDOMAIN = 3

function resolving(ask: AskName = async () => ({ outcome: 'exists', message: '' })) {
  const asked: string[] = []
  const names = new NameTable()
  const resolver = new Resolver(names, (name) => {
    asked.push(name)
    return ask(name)
  })
  const resolve = async (name: string, type: number, options = {}) => {
    const query = dnsQuery(name, type, options)
    const reply = await resolver.answer(query)
    return reply && readReply(reply, query)
  }
  return { asked, names, resolver, resolve }
}

test('a name that exists has an address of its own, and the address has the name', async () => {
  const { resolve, names } = resolving()
  const reply = await resolve('api.Example.TEST', A, { id: 7 })
  const address = reply?.data?.join('.') ?? ''
  expect(reply).toMatchObject({ id: 7, code: 0, answers: 1 })
  expect(reply?.ttl).toBeLessThanOrEqual(60)
  expect(names.meaningOf(address)).toEqual({ is: 'name', name: 'api.example.test' })
  const reverse = await resolve(`${address.split('.').reverse().join('.')}.in-addr.arpa`, PTR)
  expect(reverse?.data?.toString('latin1')).toBe('\x03api\x07example\x04test\0')
})

test('AAAA of a name that exists is an empty answer, not an error: clients take the other kind', async () => {
  const { resolve } = resolving()
  expect(await resolve('a.test', AAAA)).toMatchObject({ code: 0, answers: 0 })
})

test('both kinds asked for at once are one question to the gateway', async () => {
  const { resolve, asked } = resolving()
  await Promise.all([resolve('a.test', A), resolve('A.test', AAAA), resolve('b.test', A)])
  expect(asked).toEqual(['a.test', 'b.test'])
})

test('only names whose address is asked for are told to the gateway', async () => {
  const { resolve, asked } = resolving()
  for (const type of [TXT, HTTPS, 2, 15, 33, 255]) {
    expect(await resolve('secret.data.example.test', type)).toMatchObject({ code: 0, answers: 0 })
  }
  expect(await resolve('1.0.0.10.in-addr.arpa', PTR)).toMatchObject({ code: NXDOMAIN })
  expect(await resolve('9.9.18.198.in-addr.arpa', PTR)).toMatchObject({ code: NXDOMAIN })
  expect(asked).toEqual([])
})

test('the gateway’s outcomes are the codes that resolvers have', async () => {
  const outcomes = { 'no.test': 'no_such_name', 'denied.test': 'denied', 'failed.test': 'failed' } as const
  const { resolve } = resolving(async (name) => ({
    outcome: outcomes[name as keyof typeof outcomes],
    message: 'It is not\nallowed.',
  }))
  expect(await resolve('no.test', A)).toMatchObject({ code: NXDOMAIN, extended: undefined })
  expect(await resolve('denied.test', A)).toMatchObject({ code: NXDOMAIN, extended: undefined })
  expect(await resolve('failed.test', A)).toMatchObject({ code: 2 })
  const told = await resolve('denied.test', A, { edns: true })
  expect(told).toMatchObject({ code: NXDOMAIN, extended: { info: 18, text: 'It is not allowed.' } })
})

test('the longest name with the longest reason still fits into 512 bytes', async () => {
  const { resolver } = resolving(async () => ({ outcome: 'denied', message: 'x'.repeat(5_000) }))
  const name = [63, 63, 63, 61].map((length) => 'a'.repeat(length)).join('.')
  const query = dnsQuery(name, A, { edns: true })
  const reply = (await resolver.answer(query)) as Buffer
  expect(reply.length).toBe(512)
  expect(readReply(reply, query).extended?.text.length).toBeGreaterThan(100)
})

test('localhost is here, and nobody is asked', async () => {
  const { resolve, asked } = resolving()
  expect((await resolve('localhost', A))?.data?.join('.')).toBe('127.0.0.1')
  expect((await resolve('8000-x.LocalHost', A))?.data?.join('.')).toBe('127.0.0.1')
  expect((await resolve('localhost', AAAA))?.data).toEqual(Buffer.from([...Buffer.alloc(15), 1]))
  expect((await resolve('1.0.0.127.in-addr.arpa', PTR))?.data?.toString('latin1')).toBe('\x09localhost\0')
  expect(asked).toEqual([])
})

test('names that no host has do not exist, and nobody is asked', async () => {
  const { resolve, asked, resolver } = resolving()
  for (const name of ['a b.test', 'ä.test', 'a\x01.test', 'a/b', 'a*.test']) {
    expect([name, (await resolve(name, A))?.code]).toEqual([name, NXDOMAIN])
  }
  // One label that reads like two.
  const query = dnsQuery('allowedXtest', A)
  query[query.indexOf('X')] = 0x2e
  expect(readReply((await resolver.answer(query)) as Buffer, query).code).toBe(NXDOMAIN)
  expect(await resolve('', A)).toMatchObject({ code: NXDOMAIN })
  expect(asked).toEqual([])
})

test('what is no query of a client is refused, or left without any answer', async () => {
  const { resolver, resolve, asked } = resolving()
  const code = async (message: Buffer) => {
    const reply = await resolver.answer(message)
    return reply && reply.readUInt16BE(2) & 0xf
  }
  const query = dnsQuery('a.test', A)
  const patched = (at: number, ...bytes: number[]) => {
    const copy = Buffer.from(query)
    copy.set(bytes, at)
    return copy
  }
  // An answer is never answered: two resolvers would talk for ever.
  expect(await code(patched(2, 0x81, 0x80))).toBeUndefined()
  for (let length = 0; length < 12; length++) expect(await code(query.subarray(0, length))).toBeUndefined()
  for (let length = 12; length < query.length; length++) expect(await code(query.subarray(0, length))).toBe(1)
  for (const count of [0, 2, 0xffff]) expect(await code(patched(4, count >> 8, count & 0xff))).toBe(1)
  // Records that are counted and not there.
  for (const at of [6, 8, 10]) expect(await code(patched(at, 0, 1))).toBe(1)
  expect(await code(patched(10, 0xff, 0xff))).toBe(1)
  // Pointers: to itself, to the header, behind the end. Lengths with reserved bits.
  for (const pointer of [0x0c, 0x00, 0xff]) expect(await code(patched(12, 0xc0, pointer))).toBe(1)
  for (const reserved of [0x40, 0x80]) expect(await code(patched(12, reserved))).toBe(1)
  // Status and update requests; another class.
  for (const opcode of [1, 2, 4, 5]) expect(await code(patched(2, opcode << 3, 0))).toBe(4)
  expect(await code(dnsQuery('a.test', A, { dnsClass: 3 }))).toBe(4)
  expect(await code(dnsQuery([...Array(5)].map(() => 'a'.repeat(63)).join('.'), A))).toBe(1)
  const edns = dnsQuery('a.test', A, { edns: true })
  const twice = Buffer.concat([edns, edns.subarray(query.length)])
  twice.writeUInt16BE(2, 10)
  expect(await code(twice)).toBe(1)
  expect(await resolve('a.test', A, { edns: true, ednsVersion: 1 })).toMatchObject({ code: 16 })
  expect(asked).toEqual([])
})

test('20,000 mutilated queries: each is answered with something that can be read, or not at all', async () => {
  const { resolver } = resolving()
  const originals = [
    dnsQuery('www.example.test', A, { edns: true }),
    dnsQuery('4.3.18.198.in-addr.arpa', PTR),
    dnsQuery('localhost', AAAA),
  ]
  let seed = 1
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
    return (seed >>> 8) % below
  }
  for (let round = 0; round < 20_000; round++) {
    const query = Buffer.from(originals[random(originals.length)] as Buffer)
    for (let flips = random(6); flips >= 0; flips--) query[random(query.length)] = random(256)
    const message = query.subarray(0, random(4) === 0 ? random(query.length + 1) : query.length)
    const reply = await resolver.answer(message)
    if (reply === undefined) continue
    expect(reply.length).toBeLessThanOrEqual(512)
    expect(readReply(reply, message).id).toBe(message.readUInt16BE(0))
  }
})

test('more names than the gateway is asked for at one time fail at once; those under way do not', async () => {
  const open: ((value: { outcome: 'exists'; message: string }) => void)[] = []
  const { resolve, asked } = resolving(() => new Promise((done) => open.push(done)))
  const waiting = Array.from({ length: 256 }, (_, index) => resolve(`n${index}.test`, A))
  expect(await resolve('one-more.test', A)).toMatchObject({ code: 2 })
  const joined = resolve('n0.test', A)
  for (const done of open) done({ outcome: 'exists', message: '' })
  expect((await Promise.all([...waiting, joined])).every((reply) => reply?.code === 0)).toBe(true)
  expect(asked.length).toBe(256)
  const again = resolve('one-more.test', A)
  open.at(-1)?.({ outcome: 'exists', message: '' })
  expect((await again)?.code).toBe(0)
})
