import type { Exec } from '@coppice/sdk'

/** The size of this terminal, if standard output is one. */
export function terminalSize(): { cols: number; rows: number } | undefined {
  const { columns, rows } = process.stdout
  return columns > 0 && rows > 0 ? { cols: columns, rows } : undefined
}

/**
 * Puts this terminal into raw mode, so that every key goes to the exec as its bytes, and passes changes of its size on.
 * Returns what puts it back; that also happens at the end of this process, however it ends.
 */
export function joinTerminal(exec: Exec): () => void {
  const { stdin, stdout } = process
  const onResize = () => {
    const size = terminalSize()
    // A size that arrives after the end is of no use to anybody.
    if (size) exec.resize(size.cols, size.rows).catch(() => {})
  }
  const restore = () => {
    stdout.off('resize', onResize)
    process.off('exit', restore)
    if (stdin.isTTY) stdin.setRawMode(false)
  }
  stdout.on('resize', onResize)
  process.on('exit', restore)
  if (stdin.isTTY) stdin.setRawMode(true)
  return restore
}
