import { Coppice, CoppiceError, runningGateway, Sandbox } from '@coppice/sdk'
import { promises } from './promises.ts'

/** How often each thing is measured, after some that do not count. */
const CREATES = 20
const EXECS = 200
const WARM = 3

/** One measured figure. Milliseconds; null where it could not be measured. */
export interface Measured {
  name: string
  p50: number | null
  p95: number | null
  /** What SPECIFICATION.md promises. */
  promised: string
  /** What it says was measured where it was written. */
  there: string
}

/**
 * Measures creates and execs against the gateway that runs, from the image `base`. Its sandboxes are removed again.
 * @throws `failed_precondition/gateway_not_running`, and what the gateway refuses
 */
export async function bench(
  home: string,
  say: (text: string) => void,
): Promise<{ figures: Measured[]; table: string }> {
  if (!process.env.COPPICE_URL && !runningGateway(home)) {
    throw new CoppiceError(
      'failed_precondition',
      'gateway_not_running',
      `No gateway runs for ${home} to be measured.`,
      {
        hint: 'coppice gateway start',
      },
    )
  }
  const client = new Coppice({ home })
  const made: Sandbox[] = []
  try {
    say(`Measuring ${CREATES} creates with their first exec, and ${EXECS} execs`)
    const create = await time(CREATES, WARM, async () => {
      const sandbox = await Sandbox.create({ client })
      made.push(sandbox)
      await sandbox.exec(['true'])
    })
    const [sandbox] = made
    const exec = await time(EXECS, WARM, async () => sandbox?.exec(['true']))
    const promised = await promises()
    const figures: Measured[] = [
      figure('create, to the first exec result', create, promised.create),
      figure("exec(['true']), round trip", exec, promised.exec),
      { name: 'fork', p50: null, p95: null, promised: 'no driver of this build forks', there: '–' },
    ]
    return { figures, table: table(figures) }
  } finally {
    await Promise.all(
      made.map((sandbox) => sandbox.remove().catch((error: Error) => say(`${sandbox.id}: ${error.message}`))),
    )
    client.close()
  }
}

async function time(count: number, warm: number, work: () => Promise<unknown>): Promise<number[]> {
  const samples: number[] = []
  for (let run = -warm; run < count; run += 1) {
    const start = performance.now()
    await work()
    if (run >= 0) samples.push(performance.now() - start)
  }
  return samples.sort((a, b) => a - b)
}

function figure(name: string, sorted: number[], spec: { promised: string; there: string }): Measured {
  return { name, p50: quantile(sorted, 0.5), p95: quantile(sorted, 0.95), ...spec }
}

function quantile(sorted: readonly number[], share: number): number | null {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null
}

function table(figures: readonly Measured[]): string {
  const ms = (value: number | null) => (value === null ? '–' : `${value.toFixed(value < 10 ? 2 : 0)} ms`)
  const rows = [
    ['FIGURE', 'P50 HERE', 'P95 HERE', 'PROMISED', 'MEASURED WHERE IT WAS PROMISED'],
    ...figures.map(({ name, p50, p95, promised, there }) => [name, ms(p50), ms(p95), promised, there]),
  ]
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
