/**
 * A shell line for the busybox image that fetches a URL by plain `connect`, `write` and `read` of a static program: no proxy, no
 * variable, no C library of the image is asked. Prints the answer with its head; the status is not 0 when the connection fails.
 * https: with the server name, without a look at the certificate.
 */
export function plainFetch(url: string): string {
  const { protocol, hostname, port, pathname, search } = new URL(url)
  const request = `printf 'GET ${pathname}${search} HTTP/1.0\\r\\nHost: ${hostname}\\r\\n\\r\\n'`
  if (protocol === 'http:') return `${request} | busybox nc ${hostname} ${port || 80}`
  // nc runs the program with the connection as its standard input and output; the answer leaves by descriptor 4.
  const talk = `exec 3<&0; ${request} | busybox ssl_client -s 3 -n ${hostname} >&4`
  return `busybox nc ${hostname} ${port || 443} -e sh -c "${talk}" 4>&1`
}
