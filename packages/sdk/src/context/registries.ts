import { parseRegistryReference } from '@coppice/protocol/wire'

/** Hosts that are told to a gateway at most: more, and one build would fill the address of its call. */
const MAX_REGISTRIES = 32

/**
 * The hosts of the registries that a Dockerfile's base images come from (`FROM`, `COPY --from=`, `RUN --mount=from=`), so that builders
 * which do not ask can be told who asks there. What cannot be read is left out: the builder will say what is wrong.
 */
export function registriesOf(dockerfile: string, buildArgs: Record<string, string> = {}): string[] {
  const hosts = new Set<string>()
  const stages = new Set<string>(['scratch'])
  const variables: Record<string, string> = {}
  let begun = false
  const use = (image: string): void => {
    if (image === '' || /^\d+$/.test(image) || stages.has(image.toLowerCase())) return
    try {
      hosts.add(parseRegistryReference(image).host)
    } catch {}
  }
  for (const line of instructions(dockerfile)) {
    const [word = '', ...rest] = line.split(/\s+/)
    const flags = rest.filter((part) => part.startsWith('--'))
    const [first = '', as, name] = rest.filter((part) => !part.startsWith('--'))
    switch (word.toUpperCase()) {
      case 'ARG':
        if (!begun) for (const pair of rest) declare(variables, pair, buildArgs)
        break
      case 'FROM':
        begun = true
        use(expand(first, variables))
        if (as?.toUpperCase() === 'AS' && name) stages.add(name.toLowerCase())
        break
      default:
        for (const flag of flags) use(/^--(?:from=|mount=(?:.*,)?from=)([^,]+)/.exec(flag)?.[1] ?? '')
    }
  }
  return [...hosts].slice(0, MAX_REGISTRIES)
}

/** Its instructions, each in one line, without comments. */
function* instructions(dockerfile: string): Generator<string> {
  const continued = /^\s*#\s*escape\s*=\s*`/im.test(dockerfile.slice(0, 1000)) ? '`' : '\\'
  let sofar = ''
  for (const line of dockerfile.split(/\r?\n/)) {
    if (/^\s*#/.test(line)) continue
    const text = line.trim()
    if (text.endsWith(continued)) {
      sofar += `${text.slice(0, -1)} `
      continue
    }
    const whole = (sofar + text).trim()
    if (whole !== '') yield whole
    sofar = ''
  }
  if (sofar.trim() !== '') yield sofar.trim()
}

/** `ARG NAME` or `ARG NAME=DEFAULT`; what was asked for goes before the default. */
function declare(variables: Record<string, string>, pair: string, given: Record<string, string>): void {
  const [name = '', value] = pair.split(/=(.*)/s)
  const found = Object.hasOwn(given, name) ? given[name] : value && expand(unquoted(value), variables)
  if (found !== undefined) variables[name] = found
}

function unquoted(text: string): string {
  return /^(["']).*\1$/s.test(text) ? text.slice(1, -1) : text
}

/** `$NAME`, `${NAME}`, `${NAME:-DEFAULT}`, `${NAME:+OTHER}`. */
function expand(text: string, variables: Record<string, string>): string {
  return unquoted(text).replaceAll(
    /\$(?:(\w+)|\{(\w+)(?::([-+])([^}]*))?\})/g,
    (_, plain: string | undefined, braced: string | undefined, how: string | undefined, other = '') => {
      const value = variables[plain ?? braced ?? ''] ?? ''
      if (how === '-') return value || other
      if (how === '+') return value && other
      return value
    },
  )
}
