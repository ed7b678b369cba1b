/** How the name server answers for a name. */
export interface NameSettings {
  /** What the first, second, … question of a type gets; the last one stays. IPv4 addresses are A, IPv6 ones AAAA. */
  answers?: string[][]
  /** Instead of addresses. */
  cname?: string
  /** Seconds. Default 0. */
  ttl?: number
  delayMs?: number
  failure?: 'SERVFAIL' | 'REFUSED' | 'silent'
}

/** A question that came to the name server. */
export interface Question {
  name: string
  type: string
  over: 'udp' | 'tcp'
}

/** A request that came to one of the web servers. */
export interface WebRequest {
  method: string
  url: string
  host: string
  /** As they came: name, value, name, value, … */
  rawHeaders: string[]
  /** Server name of the TLS handshake; null without TLS. */
  serverName: string | false | null
  /** Address and port that it came to. */
  to: string
  /** Number of the connection that it came on. */
  connection: number
}

/** What was seen since the start, or since `forget`. */
export interface Seen {
  questions: Question[]
  requests: WebRequest[]
  /** `ADDRESS:PORT` of every connection that was accepted, those without a request too. */
  connections: string[]
  /** What the HTTP proxy was asked for: `CONNECT host:port`, `GET http://…`. */
  proxied: string[]
  /** Connections open now. */
  open: number
}

/** What the test tells the servers, in order. Each is answered. */
export type Order =
  | { order: 'start'; key: string; certificate: string; folder: string; names: Record<string, NameSettings> }
  | { order: 'name'; name: string; settings: NameSettings | null }
  | { order: 'seen' }
  | { order: 'forget' }

export type Answer = { id: number; result: Seen | null } | { id: number; error: string }
