import type { EgressRecord, NetworkPolicy } from '@coppice/protocol'
import { describe, expect, it } from 'vitest'
import { parseAddress } from './policy/address.ts'
import { parseHost } from './policy/host.ts'
import { Judge } from './policy/judge.ts'
import { suggest } from './suggest.ts'

const base: EgressRecord = {
  at: 1,
  kind: 'connection',
  exec: null,
  via: 'connect',
  name: null,
  address: null,
  port: null,
  verdict: 'audit',
  rule: 'public',
  bytesOut: 0,
  bytesIn: 0,
  endedAt: 2,
  end: 'closed',
}
const to = (
  name: string | null,
  address: string | null,
  port: number,
  more: Partial<EgressRecord> = {},
): EgressRecord => {
  return { ...base, name, address, port, ...more }
}
const lookup = (name: string, more: Partial<EgressRecord> = {}): EgressRecord => {
  return { ...base, kind: 'name', via: 'dns', name, end: null, ...more }
}

async function* each(records: EgressRecord[]): AsyncGenerator<EgressRecord> {
  yield* records
}

const from = (records: EgressRecord[], present: NetworkPolicy = { mode: 'audit', allow: [] }) =>
  suggest(each(records), present)

describe('suggest', () => {
  it('lists what was used, each once: hosts, hosts with ports, addresses with ports', async () => {
    const records = [
      to('api.github.com', '203.0.113.1', 443),
      to('api.github.com', '203.0.113.1', 80),
      to('api.github.com', '203.0.113.2', 22),
      to(null, '203.0.113.9', 8080),
      to(null, '2001:db8::1', 53),
    ]
    expect(await from([...records, ...records])).toEqual({
      present: { mode: 'audit', allow: [] },
      suggested: {
        mode: 'allow',
        allow: ['203.0.113.9:8080', '[2001:db8::1]:53', 'api.github.com', 'api.github.com:22'],
      },
      add: ['203.0.113.9:8080', '[2001:db8::1]:53', 'api.github.com', 'api.github.com:22'],
      remove: [],
      basedOn: 10,
    })
  })

  it('leaves out what was denied and what does not exist, not what was only down', async () => {
    const { suggested } = await from([
      to('evil.example', null, 443, { verdict: 'denied', end: 'denied' }),
      to('misspelt.example', null, 443, { verdict: 'failed', end: 'no_such_name' }),
      to('down.example', '203.0.113.1', 443, { verdict: 'failed', end: 'timeout' }),
      lookup('nowhere.example', { verdict: 'failed', end: 'no_such_name' }),
      lookup('looked-up.example'),
      lookup('used.example'),
      to('used.example', '203.0.113.1', 8443),
    ])
    expect(suggested.allow).toEqual(['down.example', 'looked-up.example', 'used.example:8443'])
  })

  it('opens the place as well where a name leads to one that is not public', async () => {
    const { suggested } = await from([to('db.internal', '10.0.0.5', 5432), to('me.example', '127.0.0.1', 80)])
    expect(suggested.allow).toEqual(['10.0.0.5:5432', '127.0.0.1:80', 'db.internal:5432', 'me.example'])
  })

  it('is a difference to the present list: used rules stay, unused go, covered ones are not repeated', async () => {
    const present: NetworkPolicy = {
      mode: 'audit',
      allow: ['*.example.org', 'unused.example', '10.0.0.0/8', 'API.github.com', '192.168.0.0/16'],
    }
    const suggestion = await from(
      [
        to('a.example.org', '203.0.113.1', 443),
        to('b.example.org', '203.0.113.1', 80),
        to('api.github.com', '203.0.113.1', 443),
        to('new.example', '10.1.2.3', 443),
      ],
      present,
    )
    expect(suggestion.suggested.allow).toEqual(['*.example.org', '10.0.0.0/8', 'api.github.com', 'new.example'])
    expect(suggestion.add).toEqual(['new.example'])
    expect(suggestion.remove).toEqual(['unused.example', '192.168.0.0/16'])
  })

  it('drops rules that others make up for, the wider first', async () => {
    const present: NetworkPolicy = {
      mode: 'allow',
      allow: ['*.example.org', 'a.example.org', '10.0.0.0/8', '10.0.0.5:80'],
    }
    const { suggested, remove } = await from(
      [to('a.example.org', '203.0.113.1', 443), to(null, '10.0.0.5', 80)],
      present,
    )
    expect(suggested.allow).toEqual(['10.0.0.5:80', 'a.example.org'])
    expect(remove).toEqual(['*.example.org', '10.0.0.0/8'])
  })

  it('gives a list that allows all that was used, and from which nothing can be taken', async () => {
    const records = [
      to('a.example', '203.0.113.1', 443),
      to('a.example', '203.0.113.1', 8443),
      to('b.example', '10.0.0.1', 80),
      to(null, '203.0.113.1', 22),
      to(null, '::1', 80),
    ]
    const { suggested } = await from(records)
    const allowed = (policy: NetworkPolicy) => {
      const judge = new Judge(policy, { has: () => false, ports: () => [] })
      return records.every(({ name, address, port }) => {
        const host = parseHost(name ?? address ?? '')
        const place = parseAddress(address ?? '')
        return host && place && judge.connection(host, place, port ?? 0).ok
      })
    }
    expect(allowed(suggested)).toBe(true)
    for (const rule of suggested.allow) {
      expect(allowed({ mode: 'allow', allow: suggested.allow.filter((other) => other !== rule) }), rule).toBe(false)
    }
  })
})
