import { createRequire } from 'node:module'

/** Version of this doctor, which is the client's: they come from one tree. */
export const VERSION: string = (createRequire(import.meta.url)('../package.json') as { version: string }).version
