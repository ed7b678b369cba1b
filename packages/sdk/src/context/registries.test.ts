import { expect, test } from 'vitest'
import { registriesOf } from './registries.ts'

test.each([
  ['FROM debian:13', ['docker.io']],
  [
    'FROM --platform=linux/amd64 r.example:5000/a/b:1 AS one\nFROM one\nCOPY --from=One /a /a\nCOPY --from=0 /b /b',
    ['r.example:5000'],
  ],
  ['FROM scratch\nCOPY --chown=1 --from=a.example/x / /', ['a.example']],
  [
    'FROM scratch\nRUN --mount=type=bind,from=a.example/x,target=/x --mount=from=b.example/y true',
    ['a.example', 'b.example'],
  ],
  ['# FROM a.example/x\nFROM \\\n  # why\n  b.example/x', ['b.example']],
  ['# escape=`\nFROM `\n b.example/x', ['b.example']],
  [
    'ARG HOST="a.example"\nARG IMAGE={HOST}/x\nFROM $IMAGE\nARG HOST=c.example\nFROM {NONE:-b.example/y}',
    ['a.example', 'b.example'],
  ],
  ['ARG GIVEN=other.example\nFROM {GIVEN}/x', ['given.example']],
  ['FROM BAD//NAME\nfrom index.docker.io/library/x', ['docker.io']],
  ['', []],
])('the registries of %j are told', (dockerfile, hosts) => {
  // `${…}` stands without its dollar above, which the linter takes for a forgotten template.
  expect(registriesOf(dockerfile.replaceAll('{', '${'), { GIVEN: 'given.example' })).toEqual(hosts)
})
