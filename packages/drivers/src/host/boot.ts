import { readFileSync } from 'node:fs'

let cached: string | undefined

/** The kernel's name for this boot. Two different ones mean that every process in between is gone. */
export function bootId(): string {
  cached ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
  return cached
}
