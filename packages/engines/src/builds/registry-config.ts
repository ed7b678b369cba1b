import type { Progress } from '@coppice/protocol/wire'
import type { BuildOptions } from './options.ts'

/** Docker's own registry, as references name it and as Docker's configuration does. */
const HUB = { named: 'docker.io', configured: 'https://index.docker.io/v1/' } as const

/** The header that tells a builder which does not ask who asks registries: those of the options, as far as somebody is known there. */
export async function registryConfig(
  { findLogin, registries = [] }: Pick<BuildOptions, 'findLogin' | 'registries'>,
  progress: Progress,
): Promise<Record<string, string>> {
  const known: Record<string, Record<string, string>> = {}
  for (const host of new Set(registries)) {
    const login = await findLogin?.(host, progress.signal)
    if (!login) continue
    const { username, secret } = login
    // A token that a token service takes has no name beside it.
    known[host === HUB.named ? HUB.configured : host] =
      username === '' ? { identitytoken: secret } : { username, password: secret }
  }
  if (Object.keys(known).length === 0) return {}
  return { 'x-registry-config': base64Url(JSON.stringify(known)) }
}

/** With its padding, which engines insist on. */
function base64Url(text: string): string {
  return Buffer.from(text).toString('base64').replaceAll('+', '-').replaceAll('/', '_')
}
