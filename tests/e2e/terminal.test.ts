import { execFileSync } from 'node:child_process'
import fs from 'node:fs'
import { join } from 'node:path'
import { makeBusyboxArchive } from '@coppice/images/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { CoppiceCommand } from '../support/command.ts'
import { makeHome } from '../support/gateway-process.ts'

/** How long a screen may take to show what it should. */
const SCREEN_MS = 15_000

const hasTmux = (() => {
  try {
    execFileSync('tmux', ['-V'])
    return true
  } catch {
    return false
  }
})()

let home: string
let coppice: CoppiceCommand

/** A terminal in tmux, on a server of its own. */
class Terminal {
  readonly #socket: string

  constructor(socket: string, env: NodeJS.ProcessEnv) {
    this.#socket = socket
    const shell = ['-f', '/dev/null', 'new-session', '-d', '-x', '100', '-y', '30', 'env PS1="host> " sh']
    execFileSync('tmux', ['-S', socket, ...shell], { env: { ...env, TMUX: '' } })
    // Its status line would take one of the rows.
    this.#tmux('set', '-g', 'status', 'off')
  }

  keys(...keys: string[]): void {
    this.#tmux('send-keys', ...keys)
  }

  type(line: string): void {
    this.#tmux('send-keys', '-l', line)
    this.keys('Enter')
  }

  resize(cols: number, rows: number): void {
    this.#tmux('resize-window', '-x', String(cols), '-y', String(rows))
  }

  screen(): string {
    return this.#tmux('capture-pane', '-p')
  }

  async shows(pattern: RegExp): Promise<void> {
    await expect.poll(() => this.screen(), { timeout: SCREEN_MS, interval: 50 }).toMatch(pattern)
  }

  end(): void {
    this.#tmux('kill-server')
  }

  #tmux(...args: string[]): string {
    return execFileSync('tmux', ['-S', this.#socket, ...args]).toString()
  }
}

beforeAll(async () => {
  home = makeHome()
  coppice = new CoppiceCommand(home)
  await coppice.run(['image', 'import', await makeBusyboxArchive(join(home, 'busybox.tar')), '--name', 'base'])
  await coppice.run(['create', '--name', 'box'])
}, 120_000)
afterAll(async () => {
  await coppice.run(['rm', '--all'])
  await coppice.run(['gateway', 'stop'])
  fs.rmSync(home, { recursive: true, force: true })
}, 120_000)

describe('exec -t', () => {
  it('is a true terminal: size, resize, Ctrl-C, full-screen programs, and the old one afterwards', async (context) => {
    if (!hasTmux) context.skip('tmux is not installed')
    const terminal = new Terminal(join(home, 'tmux'), coppice.env)
    try {
      await terminal.shows(/^host>/m)
      terminal.type(`${coppice.program} exec box -t --env 'PS1=inside> ' -- sh; echo "status $?"`)
      await terminal.shows(/^inside>/m)
      terminal.type('tty; stty size')
      await terminal.shows(/\/dev\/pts\/\d+\n30 100\n/)

      terminal.resize(90, 25)
      await expect
        .poll(
          () => {
            terminal.type('stty size')
            return terminal.screen()
          },
          { timeout: SCREEN_MS, interval: 300 },
        )
        .toMatch(/25 90\n/)

      terminal.type('sleep 1000')
      await terminal.shows(/sleep 1000/)
      terminal.keys('C-c')
      terminal.type('echo "slept: $?"')
      await terminal.shows(/slept: 130/)

      terminal.type('top -d 1')
      await terminal.shows(/Mem: .*\n.*CPU:.*\n(.*\n)*.*PID +PPID/)
      terminal.keys('q')
      terminal.type('clear')
      terminal.type('vi /tmp/note')
      await terminal.shows(/~\n.*~\n/)
      terminal.keys('i', 'h', 'e', 'l', 'l', 'o')
      await terminal.shows(/^hello$/m)
      // Alone: with what follows it would be the start of a function key.
      terminal.keys('Escape')
      await terminal.shows(/^- \/tmp\/note/m)
      terminal.type(':wq')
      await terminal.shows(/^inside>$/m)
      terminal.type('clear; exit 5')
      await terminal.shows(/status 5/)

      terminal.type('clear; stty -a | tr " ;" "\\n\\n" | grep -x -e icanon -e -icanon -e echo -e -echo; echo restored')
      await terminal.shows(/icanon\necho\nrestored/)
      expect(terminal.screen()).not.toMatch(/-icanon/)
    } finally {
      terminal.end()
    }
    expect((await coppice.run(['exec', 'box', '--', 'cat', '/tmp/note'])).stdout).toBe('hello\n')
  })

  it('puts the terminal back also when it is ended from outside', async (context) => {
    if (!hasTmux) context.skip('tmux is not installed')
    const terminal = new Terminal(join(home, 'tmux2'), coppice.env)
    try {
      terminal.type(`${coppice.program} exec box -t -- sh -c 'echo ready; exec sleep 1000'; echo "status $?"`)
      await terminal.shows(/^ready/m)
      await coppice.shell("coppice kill box $(coppice ps box | grep 'sleep 1000' | cut -d' ' -f1)")
      await terminal.shows(/status 143/)
      terminal.type('stty -a | grep -o -e "-icanon"; echo restored')
      await terminal.shows(/^restored/m)
      expect(terminal.screen()).not.toMatch(/^-icanon/m)
    } finally {
      terminal.end()
    }
  })

  it('works where only the output is wanted', async () => {
    expect(await coppice.run(['exec', 'box', '-t', '--', 'tty'])).toMatchObject({ code: 0, stdout: '/dev/pts/0\r\n' })
  })
})
