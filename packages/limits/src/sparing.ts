/** What build tools read for how much they do at a time, and the least of it. */
const LEAST_CONCURRENCY: Record<string, string> = {
  CARGO_BUILD_JOBS: '1',
  CMAKE_BUILD_PARALLEL_LEVEL: '1',
  CTEST_PARALLEL_LEVEL: '1',
  GOMAXPROCS: '1',
  JOBS: '1',
  MAX_JOBS: '1',
  NPY_NUM_BUILD_JOBS: '1',
  RAYON_NUM_THREADS: '1',
  UV_CONCURRENT_BUILDS: '1',
  UV_CONCURRENT_DOWNLOADS: '1',
  UV_CONCURRENT_INSTALLS: '1',
  npm_config_jobs: '1',
  npm_config_maxsockets: '1',
}

/** The same as flags, which come after what is there: the last counts. */
const LEAST_FLAGS: Record<string, string> = { GOFLAGS: '-p=1', MAKEFLAGS: '-j1' }

/** Set to nothing, which cargo takes as "none" even where its configuration file names one. */
const CARGO_WRAPPERS = [
  'RUSTC_WRAPPER',
  'RUSTC_WORKSPACE_WRAPPER',
  'CARGO_BUILD_RUSTC_WRAPPER',
  'CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER',
]

/** Left out: what puts a compiler cache before the compiler in other tools. */
const LAUNCHERS = /^(CMAKE_[A-Z]+_COMPILER_LAUNCHER|CCACHE_PREFIX|CCACHE_PREFIX_CPP)$/

/** Compilers that are called through a cache: `CC="ccache gcc"`. */
const CACHED_COMPILER = /^\s*(\S*\/)?(ccache|sccache|distcc|buildcache|icecc)\s+(?=\S)/

/**
 * The environment of the second try of a build step that had too many files open: the least concurrency, and no compiler
 * caches, which keep files of their own open. A new object.
 */
export function sparingEnvironment(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const sparing: NodeJS.ProcessEnv = {}
  for (const [name, value] of Object.entries(env)) {
    if (value === undefined || LAUNCHERS.test(name)) continue
    sparing[name] = /^(CC|CXX|HOSTCC|HOSTCXX|CUDACXX)$/.test(name) ? value.replace(CACHED_COMPILER, '') : value
  }
  for (const name of CARGO_WRAPPERS) sparing[name] = ''
  Object.assign(sparing, LEAST_CONCURRENCY)
  for (const [name, flag] of Object.entries(LEAST_FLAGS)) sparing[name] = [env[name], flag].filter(Boolean).join(' ')
  return sparing
}
