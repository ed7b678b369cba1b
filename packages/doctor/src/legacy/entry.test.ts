import { describe, expect, it } from 'vitest'
import { hashed } from '../testing/home.ts'
import { readRow, readShard } from './entry.ts'

const read = (text: string) => readRow(Buffer.from(text))

describe('a legacy row', () => {
  it('gets the defaults that it lacks, and the mark', () => {
    expect(read('{"containerName":"box","createdAtMs":1,"future":{"a":[null]}}').entry).toEqual({
      containerName: 'box',
      createdAtMs: 1,
      future: { a: [null] },
      foreign: true,
      backendId: 'docker',
      runtimeLabel: 'box',
      configLabelKind: 'Image',
    })
  })

  it('keeps what it says itself', () => {
    const text = '{"containerName":"box","backendId":"podman","runtimeLabel":"mine","configLabelKind":"Digest"}'
    expect(read(text).entry).toMatchObject({ backendId: 'podman', runtimeLabel: 'mine', configLabelKind: 'Digest' })
  })

  it('keeps unknown numbers digit by digit, and a field called __proto__', () => {
    const text = '{"containerName":"box","big":12345678901234567890123,"ratio":1.0,"__proto__":{"x":1}}'
    const written = JSON.stringify(read(text).entry)
    expect(written).toContain('"big":12345678901234567890123')
    expect(written).toContain('"ratio":1.0')
    expect(written).toContain('"__proto__":{"x":1}')
  })

  it.each([
    ['', 'empty'],
    ['{"containerName":"x"', 'not valid JSON'],
    ['[]', 'no JSON object'],
    ['null', 'no JSON object'],
    ['{}', 'no containerName'],
    ['{"containerName":7}', 'no containerName'],
    ['{"containerName":""}', 'no containerName'],
    ['{"containerName":"\\ud800"}', 'valid Unicode'],
    [`{"containerName":"${'x'.repeat(5000)}"}`, 'valid Unicode'],
    ['{"containerName":"x","createdAtMs":"today"}', 'createdAtMs'],
    ['{"containerName":"x","image":{}}', 'image'],
  ])('is refused with the reason: %s', (text, reason) => {
    expect(read(text)).toEqual({ problem: expect.stringContaining(reason) })
  })

  it('is refused when its bytes are no UTF-8', () => {
    expect(readRow(Buffer.from([0x22, 0xff, 0x22])).problem).toContain('UTF-8')
  })

  it('has to be named after its container when it has a file of its own', () => {
    const bytes = Buffer.from('{"containerName":"box"}')
    expect(readShard(bytes, hashed('box')).entry).toBeDefined()
    expect(readShard(bytes, hashed('other')).problem).toContain('another container')
  })
})
