/**
 * Addresses that names resolve to inside a sandbox. Set aside for benchmarks of network devices (RFC 2544): nobody is reached
 * by them, and unlike the private ranges nobody's network has them.
 */
export const NAME_RANGE = '198.18.0.0/15'

/** The sandbox's resolver, an address of `NAME_RANGE` that no name gets. */
export const RESOLVER_ADDRESS = '198.18.0.1'

/** Ports of the supervisor inside. Above those that Linux hands out to clients (32768 to 60999). */
export const RESOLVER_PORT = 61_438
export const PROXY_PORT = 61_439

/** Where connections to the first intercepted port arrive; the others follow. */
export const INTERCEPT_BASE_PORT = 61_440

/** Ports on which programs that know no proxy are served, whatever the policy says. */
export const DEFAULT_INTERCEPT_PORTS: readonly number[] = [80, 443]

/** Ports that a policy may add to them. A slot, once given, keeps its port for the life of the sandbox. */
export const MAX_INTERCEPT_PORTS = 64

/** Longest line of JSON on the egress stream, either way, bytes. */
export const MAX_EGRESS_LINE_BYTES = 16 * 1024

/** Connections of one sandbox at one time, unless configured. */
export const DEFAULT_MAX_CONNECTIONS = 512

/** `Upgrade:` of `GET /v1/sandboxes/:sandbox/ports/:port/connect`: after 101 the connection is the port's, byte for byte. */
export const PORT_UPGRADE = 'coppice-tcp'
