import type { NetworkOption } from '@coppice/sdk'
import type { Command } from 'commander'
import { usageError } from './parse.ts'

const MODES = ['none', 'public', 'allow', 'audit'] as const
type Mode = (typeof MODES)[number]

/** The options of `create` and `run` that say what a sandbox may reach. */
export interface NetworkFlags {
  network?: Mode
  allow?: string[]
}

/** Options that `create` and `run` share. */
export function addNetworkOptions(command: Command): Command {
  return command
    .option('--network <mode>', 'what it may reach: none, public, allow, audit (default: public)', parseMode)
    .option('--allow <rule>', 'HOST, *.HOST, HOST:PORT or a range; alone, nothing else (repeatable)', collect)
}

/** What they come to; undefined when nothing was said, which is the gateway's default. */
export function networkOption({ network, allow }: NetworkFlags): NetworkOption | undefined {
  if (network === undefined && allow === undefined) return undefined
  return { mode: network, allow }
}

/** @throws `invalid_argument/usage` */
export function parseMode(text: string): Mode {
  const mode = MODES.find((known) => known === text)
  if (mode) return mode
  throw usageError(`${JSON.stringify(text)} is not a network mode.`, `One of ${MODES.join(', ')}.`)
}

/** Collects a repeated option. */
export function collect(text: string, sofar: string[] = []): string[] {
  return [...sofar, text]
}
