/**
 * Runs a module of this folder in a process with limits of its own. Arguments: soft limit, hard limit, module, what follows
 * is the module's. The limits are set from within: Node raises its soft limit to the hard one when it starts.
 */
import { execFileSync } from 'node:child_process'

const [soft, hard, module = '', ...rest] = process.argv.slice(2)
execFileSync('prlimit', ['--pid', String(process.pid), `--nofile=${soft}:${hard}`])
process.argv.splice(2, Number.POSITIVE_INFINITY, ...rest)
await import(new URL(module, import.meta.url).href)
