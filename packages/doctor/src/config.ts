import { readHomeFile } from '@coppice/protocol/home-file'

/** What checks need to know of `config.json`. Everything else in it is the gateway's. */
export interface ConfigFacts {
  driver: string | undefined
  /** To be spread into a driver's options: empty when it is not configured. */
  uidBase: { uidBase?: number }
}

/** Reads what can be read: a damaged file is told by the check that is about it. */
export async function readConfig(path: string): Promise<ConfigFacts> {
  const value = await readConfigJson(path).catch(() => ({}))
  const { driver, uidBase } = (value ?? {}) as { driver?: unknown; uidBase?: unknown }
  return {
    driver: typeof driver === 'string' ? driver : undefined,
    uidBase: typeof uidBase === 'number' ? { uidBase } : {},
  }
}

/** The file as JSON; undefined when there is none. Throws what is wrong with it. */
export async function readConfigJson(path: string): Promise<unknown> {
  const text = readHomeFile(path)
  return text === undefined ? undefined : JSON.parse(text)
}
