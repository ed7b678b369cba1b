import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { resolveIdentity } from './identity.ts'

let etc: string
beforeAll(() => {
  etc = mkdtempSync(join(tmpdir(), 'etc-'))
  writeFileSync(
    join(etc, 'passwd'),
    'root:x:0:0:root:/root:/bin/sh\n# comment\n\nuser:x:1000:1000:,,,:/home/user:/bin/bash\nodd:x:notanumber:1::/\n1234:x:77:78::/named\n',
  )
  writeFileSync(
    join(etc, 'group'),
    'root:x:0:\nuser:x:1000:\nsudo:x:27:other,user\ndocker:x:999:user\ntwice:x:27:user\n',
  )
})
afterAll(() => rmSync(etc, { recursive: true }))

test('a name brings uid, gid, home and supplementary groups', () => {
  expect(resolveIdentity('user', etc)).toEqual({ uid: 1000, gid: 1000, groups: [27, 999], home: '/home/user' })
})

test('a uid with an account is that account', () => {
  expect(resolveIdentity('1000', etc).groups).toEqual([27, 999])
})

test('a name that looks like a number is a name first', () => {
  expect(resolveIdentity('1234', etc)).toMatchObject({ uid: 77, gid: 78, home: '/named' })
})

test('a uid without an account runs with gid 0 and no groups', () => {
  expect(resolveIdentity('4242', etc)).toEqual({ uid: 4242, gid: 0, groups: [], home: '/' })
})

test('an explicit group replaces the supplementary ones', () => {
  expect(resolveIdentity('user:docker', etc)).toMatchObject({ uid: 1000, gid: 999, groups: [] })
  expect(resolveIdentity('user:5', etc)).toMatchObject({ uid: 1000, gid: 5, groups: [] })
})

test('nothing is root, also where there is no /etc/passwd', () => {
  expect(resolveIdentity('', etc)).toMatchObject({ uid: 0, gid: 0 })
  expect(resolveIdentity('root', '/nonexistent')).toMatchObject({ uid: 0, gid: 0, home: '/root' })
})

test.each([
  ['nobody-here', 'user_not_found'],
  ['odd', 'user_not_found'],
  ['-1', 'user_not_found'],
  ['4294967295', 'user_not_found'],
  ['99999999999', 'user_not_found'],
  ['user:nogroup', 'group_not_found'],
])('%s is refused as %s', (spec, reason) => {
  expect(() => resolveIdentity(spec, etc)).toThrow(expect.objectContaining({ code: 'not_found', reason }))
})
