import type { EgressRecord } from '@coppice/sdk'
import { describe, expect, it } from 'vitest'
import { egressTable } from './egress-log.ts'

const record: EgressRecord = {
  at: Date.UTC(2030, 0, 2, 3, 4, 5),
  kind: 'connection',
  exec: 'ex-0123456789abcdef',
  via: 'connect',
  name: 'api.example',
  address: '192.0.2.1',
  port: 443,
  verdict: 'allowed',
  rule: 'public',
  bytesOut: 100,
  bytesIn: 2048,
  endedAt: null,
  end: 'closed',
}

describe('the log of what went outside', () => {
  it('has a line for each connection and each name', () => {
    const denied: EgressRecord = {
      ...record,
      kind: 'name',
      via: 'dns',
      name: 'x.example',
      exec: null,
      address: null,
      port: null,
      verdict: 'denied',
      rule: 'allow',
    }
    expect(egressTable([record, denied]).split('\n')).toEqual([
      'TIME                 EXEC                 NAME         ADDRESS    PORT  OUT    IN       VERDICT  RULE',
      '2030-01-02 03:04:05  ex-0123456789abcdef  api.example  192.0.2.1  443   100 B  2.0 KiB  allowed  public',
      '2030-01-02 03:04:05  -                    x.example    -          dns   -      -        denied   allow',
    ])
  })

  it('says how a connection ended that did not just end', () => {
    expect(egressTable([{ ...record, end: 'policy' }])).toContain('public (policy)')
  })

  it('lets nothing from inside move the cursor', () => {
    const evil = '\u001b[2J\r\nfake\u202e'
    const shown = egressTable([{ ...record, name: evil, exec: evil, address: evil, rule: evil }])
    expect(shown.split('\n')).toHaveLength(2)
    expect(shown.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  })
})
