/** Addresses of the fake internet. The public ones are set aside for documentation: nobody has them. */
export const ADDRESSES = {
  /** The name server. */
  resolver: '198.51.100.53',
  /** Every server listens on every address; names lead to this one unless told otherwise. */
  web: '198.51.100.10',
  other: '198.51.100.11',
  web6: '2001:db8:c0:1::10',
  /** A private network behind the same cable. */
  private: '10.199.0.10',
  private6: 'fd00:c0de:1::10',
  /** Takes connections and never answers: not a packet comes back. */
  blackhole: '198.51.100.250',
  /** Is told by a router not to be there. */
  unreachable: '198.51.100.251',
  /** Reached only after `claimMetadata`. */
  metadata: '169.254.169.254',
} as const

/** Ports on which every address listens. */
export const PORTS = {
  http: 80,
  http2: 8080,
  https: 443,
  https2: 8443,
  /** Sends back what it gets; half-close too. */
  echo: 7,
  /** Takes connections, reads nothing and says nothing. */
  silent: 9,
  /** Speaks first: `SSH-2.0-fake\r\n`, then echoes. */
  banner: 22,
  /** Sends without end. */
  flood: 19,
  /** Reads to the end and then sends the SHA-256 of it, in hex: needs half-close. */
  digest: 1001,
  /** Resets after the first bytes. */
  reset: 1002,
  smtp: 25,
  /** An HTTP proxy: CONNECT and absolute-form. */
  proxy: 3128,
} as const
