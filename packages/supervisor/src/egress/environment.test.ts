import { expect, test } from 'vitest'
import { proxyVariables } from './environment.ts'

const URL = 'http://ex-0000000000000000:x@127.0.0.1:61439'

test('every usual variable is there in both cases, and says which exec it is for', () => {
  expect(proxyVariables(61_439, 'ex-0000000000000000', [])).toEqual({
    http_proxy: URL,
    HTTP_PROXY: URL,
    https_proxy: URL,
    HTTPS_PROXY: URL,
    all_proxy: URL,
    ALL_PROXY: URL,
    no_proxy: 'localhost,127.0.0.1,::1,.localhost',
    NO_PROXY: 'localhost,127.0.0.1,::1,.localhost',
    NODE_USE_ENV_PROXY: '1',
  })
})

test('a pair of which one is set elsewhere is left alone, so that no tool goes on using ours', () => {
  const variables = proxyVariables(1, 'ex-0000000000000000', [
    { HTTPS_PROXY: 'http://own' },
    undefined,
    { no_proxy: '' },
  ])
  expect(Object.keys(variables).sort()).toEqual([
    'ALL_PROXY',
    'HTTP_PROXY',
    'NODE_USE_ENV_PROXY',
    'all_proxy',
    'http_proxy',
  ])
})
