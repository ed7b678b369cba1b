import { describe, expect, it } from 'vitest'
import { sparingEnvironment } from './sparing.ts'

describe('the environment of a second try', () => {
  it('cuts concurrency to one, also where the first had none or more', () => {
    const env = sparingEnvironment({ CARGO_BUILD_JOBS: '16', MAKEFLAGS: '-j16 V=1', GOFLAGS: '-mod=vendor' })
    expect(env).toMatchObject({
      CARGO_BUILD_JOBS: '1',
      CMAKE_BUILD_PARALLEL_LEVEL: '1',
      GOMAXPROCS: '1',
      MAX_JOBS: '1',
      MAKEFLAGS: '-j16 V=1 -j1',
      GOFLAGS: '-mod=vendor -p=1',
      npm_config_jobs: '1',
    })
    expect(sparingEnvironment({})).toMatchObject({ MAKEFLAGS: '-j1', GOFLAGS: '-p=1' })
  })

  it('has no compiler caches', () => {
    const env = sparingEnvironment({
      RUSTC_WRAPPER: '/usr/bin/sccache',
      RUSTC_WORKSPACE_WRAPPER: 'sccache',
      CARGO_BUILD_RUSTC_WRAPPER: 'sccache',
      CMAKE_C_COMPILER_LAUNCHER: 'ccache',
      CMAKE_CXX_COMPILER_LAUNCHER: 'ccache',
      CCACHE_PREFIX: 'distcc',
      CC: 'ccache gcc -m64',
      CXX: '/usr/lib/sccache clang++',
    })
    // Empty, not absent: absent, cargo would take the one of its configuration file.
    expect(env).toMatchObject({ RUSTC_WRAPPER: '', RUSTC_WORKSPACE_WRAPPER: '', CARGO_BUILD_RUSTC_WRAPPER: '' })
    for (const name of ['CMAKE_C_COMPILER_LAUNCHER', 'CMAKE_CXX_COMPILER_LAUNCHER', 'CCACHE_PREFIX']) {
      expect(env).not.toHaveProperty(name)
    }
    expect([env.CC, env.CXX]).toEqual(['gcc -m64', 'clang++'])
  })

  it('keeps everything else, and leaves the first environment as it was', () => {
    const first = Object.freeze({ PATH: '/bin', CC: 'gcc', HOME: '/root', EMPTY: '', CCACHE_DIR: '/cache' })
    expect(sparingEnvironment(first)).toMatchObject(first)
    expect(sparingEnvironment({ CC: 'ccache' }).CC).toBe('ccache')
  })
})
