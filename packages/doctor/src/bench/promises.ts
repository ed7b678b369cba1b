import { readFile } from 'node:fs/promises'

/** What SPECIFICATION.md says about one figure. */
export interface Promised {
  promised: string
  there: string
}

const UNKNOWN: Promised = { promised: '–', there: '–' }

/** The rows of SPECIFICATION.md that are measured here, so that they are written in one place only. */
export async function promises(): Promise<{ create: Promised; exec: Promised }> {
  const text = await readFile(new URL('../../../../SPECIFICATION.md', import.meta.url), 'utf8').catch(() => '')
  return { create: rowOf(text, /^create → first exec/), exec: rowOf(text, /^SDK exec/) }
}

/** A row of a Markdown table with the columns figure, promised, measured. */
export function rowOf(text: string, figure: RegExp): Promised {
  for (const line of text.split('\n')) {
    const cells = line.split('|').map((cell) => cell.replaceAll('`', '').trim())
    if (cells.length >= 5 && figure.test(cells[1] ?? '')) return { promised: cells[2] ?? '–', there: cells[3] ?? '–' }
  }
  return UNKNOWN
}
