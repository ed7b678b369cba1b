/** Names of the proxy variables, in the lower case of curl and the upper case of others. Tools read one or the other. */
const PROXIES = ['http_proxy', 'https_proxy', 'all_proxy']
const EXCEPT = 'no_proxy'

/** What is inside, and is reached as it is. */
const INSIDE = 'localhost,127.0.0.1,::1,.localhost'

/**
 * The variables that lead an exec's programs to the proxy on `port`; with its id, so that the log can say which exec it was. A
 * pair (`http_proxy`, `HTTP_PROXY`) of which `layers` set one is theirs alone: tools that read the other would else go on
 * using ours. `ALL_PROXY` is an HTTP URL too: one of SOCKS needs an extra package in Python's httpx, which then does not start.
 */
export function proxyVariables(
  port: number,
  execId: string,
  layers: readonly (Record<string, string> | undefined)[],
): Record<string, string> {
  const url = `http://${execId}:x@127.0.0.1:${port}`
  const variables: Record<string, string> = {}
  const set = (name: string, value: string) => {
    const pair = [name, name.toUpperCase()]
    if (layers.some((layer) => layer && pair.some((each) => each in layer))) return
    for (const each of pair) variables[each] = value
  }
  for (const name of PROXIES) set(name, url)
  set(EXCEPT, INSIDE)
  // Node's own fetch and http look at the others only when told to.
  variables.NODE_USE_ENV_PROXY = '1'
  return variables
}
