import type { ExecOutcome, Sandbox } from '@coppice/sdk'

/** The Node of the runtime bundle: every sandbox has it, whatever its image. */
const NODE = ['/.coppice/ld.so', '--library-path', '/.coppice/lib', '/.coppice/coppice-supervisor']

/** What programs of `runInside` may use besides Node's own. */
const PRELUDE = `
const net = await import('node:net'); const tls = await import('node:tls'); const { once } = await import('node:events')
const proxy = new URL(process.env.http_proxy || 'http://127.0.0.1:61439')
const args = process.argv.slice(1)
const say = (value) => console.log(JSON.stringify(value))
/** A connection to the proxy. */
const dial = async () => { const s = net.connect(Number(proxy.port), proxy.hostname); s.on('error', () => {}); await once(s, 'connect'); return s }
/** Everything that comes on a socket until its end, as text; \`(reset)\` behind it when it did not end in order. */
const all = (s) => new Promise((done) => { let text = ''; let ended = false; s.on('data', (d) => { text += d.toString('latin1') }); s.on('end', () => { ended = true }); s.on('error', () => {}); s.on('close', () => done(text + (ended ? '' : '(reset)'))) })
/** Sends bytes to the proxy as they are, and returns all that comes back. */
const raw = async (bytes, half = true) => { const s = await dial(); half ? s.end(bytes) : s.write(bytes); return all(s) }
/** A tunnel by CONNECT: the socket, or the refusal as text. */
const tunnel = async (to) => { const s = await dial(); s.write('CONNECT ' + to + ' HTTP/1.1\\r\\nHost: ' + to + '\\r\\n\\r\\n'); let head = ''; while (!head.includes('\\r\\n\\r\\n')) { const [d] = await Promise.race([once(s, 'data'), once(s, 'close').then(() => [Buffer.from('\\r\\n\\r\\n')])]); head += d.toString('latin1') } if (head.startsWith('HTTP/1.1 200')) return { s, head }; s.end(); return { head: head + await all(s) } }
`

/** Command line of a program for Node in a sandbox. */
export function insideArgv(program: string, args: string[] = []): string[] {
  return [...NODE, '--input-type=module', '-e', `${PRELUDE}\n${program}`, '--', ...args]
}

/** Runs a program for Node in a sandbox. It ends when it has nothing more to do. */
export function runInside(
  sandbox: Sandbox,
  program: string,
  args: string[] = [],
  options: { timeoutMs?: number; env?: Record<string, string> } = {},
): Promise<ExecOutcome> {
  return sandbox.exec(insideArgv(program, args), options)
}

/** What a program that `say`s one thing has said. */
export async function saidInside<T>(
  sandbox: Sandbox,
  program: string,
  args: string[] = [],
  options: { timeoutMs?: number; env?: Record<string, string> } = {},
): Promise<T> {
  const result = await runInside(sandbox, program, args, options)
  if (result.exitCode !== 0) throw new Error(`the program inside failed: ${result.stderr}`)
  return JSON.parse(result.stdout) as T
}
