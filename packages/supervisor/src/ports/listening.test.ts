import { expect, test } from 'vitest'
import { parseListening } from './listening.ts'

const HEAD = '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'

test('listening sockets of both families, as the kernel writes them', () => {
  const list = [
    HEAD,
    '   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000 100 0 0 10 0',
    '   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4243 1 0000 100 0 0 10 0',
    '   2: 0100007F:1F90 0100007F:9C40 01 00000000:00000000 00:00000000 00000000  1000        0 4244 1 0000 20 4 30 10 -1',
    '   0: 00000000000000000000000001000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4245 1',
    '   1: B80D0120000000000000000001000000:0BB9 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4246 1',
  ]
  expect(parseListening(list.join('\n'))).toEqual([
    { port: 8080, address: '127.0.0.1', process: null, inode: '4242' },
    { port: 80, address: '0.0.0.0', process: null, inode: '4243' },
    { port: 3000, address: '::1', process: null, inode: '4245' },
    { port: 3001, address: '2001:db8::1', process: null, inode: '4246' },
  ])
})

test('lines that are cut or are something else are passed over', () => {
  expect(parseListening('')).toEqual([])
  expect(parseListening(`${HEAD}\n   0: 0100007F:1F90 00000000:0000`)).toEqual([])
  expect(parseListening('x: zz:yy 0 0A 1 2 3 4 5 6 7\n   0: 0100:1F90 0 0A')).toEqual([])
})
