import { describe, expect, it } from 'vitest'
import { encodePath, query } from './paths.ts'

describe('paths in queries', () => {
  it('keep every byte, UTF-8 or not', () => {
    expect(encodePath('/a b/ü&=?#%+')).toBe('/a%20b/%C3%BC%26%3D%3F%23%25%2B')
    expect(encodePath(Buffer.from([0x2f, 0xff, 0x0a]))).toBe('/%FF%0A')
  })

  it('leave out what is not given', () => {
    expect(query({ path: '/x', offset: 0, parents: true, nofollow: false, user: undefined })).toBe(
      '?path=/x&offset=0&parents=1&nofollow=0',
    )
    expect(query({ user: undefined })).toBe('')
  })
})
