/** Bytes of one secret of a build: BuildKit's own limit. */
export const MAX_BUILD_SECRET_BYTES = 500 * 1024

/** Secrets of one build. They are in memory while it goes on. */
export const MAX_BUILD_SECRETS = 32

/** What a secret of a build may be called: a file's name below `/run/secrets`. */
export const BUILD_SECRET_ID = /^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}$/
