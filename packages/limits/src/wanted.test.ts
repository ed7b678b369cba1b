import { describe, expect, it } from 'vitest'
import { wantedOpenFiles } from './wanted.ts'

describe('the wanted number of open files', () => {
  it('is 8192 unless configured', () => {
    expect(wantedOpenFiles({})).toBe(8192)
  })

  it('is the setting, and the older name counts where the newer is not set', () => {
    expect(wantedOpenFiles({ COPPICE_BUILD_NOFILE_LIMIT: '4096' })).toBe(4096)
    expect(wantedOpenFiles({ COPPICE_VM_BUILD_NOFILE_LIMIT: '2048' })).toBe(2048)
    expect(wantedOpenFiles({ COPPICE_BUILD_NOFILE_LIMIT: '4096', COPPICE_VM_BUILD_NOFILE_LIMIT: '2048' })).toBe(4096)
    expect(wantedOpenFiles({ COPPICE_BUILD_NOFILE_LIMIT: '1024' })).toBe(1024)
  })

  it.each(['1023', '0', '-1', '8192.5', '1e4', '0x2000', 'many', 'unlimited', '', ' ', '8192 ', '9'.repeat(30)])(
    'is refused as "%s", with the setting and what would do',
    (value) => {
      for (const setting of ['COPPICE_BUILD_NOFILE_LIMIT', 'COPPICE_VM_BUILD_NOFILE_LIMIT']) {
        expect(() => wantedOpenFiles({ [setting]: value })).toThrow(
          expect.objectContaining({
            code: 'invalid_argument',
            reason: 'invalid_nofile_limit',
            facts: expect.objectContaining({ setting, least: 1024 }),
            hint: `export ${setting}=8192`,
          }),
        )
      }
    },
  )

  it('is not looked for in the older setting when the newer is bad', () => {
    const env = { COPPICE_BUILD_NOFILE_LIMIT: '12', COPPICE_VM_BUILD_NOFILE_LIMIT: '2048' }
    expect(() => wantedOpenFiles(env)).toThrow(expect.objectContaining({ reason: 'invalid_nofile_limit' }))
  })
})
