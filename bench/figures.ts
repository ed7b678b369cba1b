/** One line of the table: a figure, what it was compared with in the same run, and what is promised. */
export interface Figure {
  name: string
  /** As people read it: `3.1 ms`, `212 MB/s`. */
  value: string
  /** What a user would otherwise pick, measured in the same run. */
  rival?: string
  /** The promise, and whether this run kept it. */
  target: string
  met: boolean
}

/** The value below which `share` of the samples lie. */
export function quantile(samples: number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** Milliseconds of each of `count` runs, one after the other, after `warm` runs that do not count. */
export async function time(count: number, warm: number, work: () => Promise<unknown>): Promise<number[]> {
  for (let run = 0; run < warm; run += 1) await work()
  const samples: number[] = []
  for (let run = 0; run < count; run += 1) {
    const start = performance.now()
    await work()
    samples.push(performance.now() - start)
  }
  return samples
}

export const ms = (value: number) => `${value < 10 ? value.toFixed(2) : value.toFixed(0)} ms`
export const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`
export const rate = (bytes: number, milliseconds: number) => `${(bytes / 1e6 / (milliseconds / 1000)).toFixed(0)} MB/s`

/** The table as Markdown. */
export function table(figures: Figure[]): string {
  const rows = figures.map(
    ({ name, value, rival, target, met }) =>
      `| ${name} | ${value} | ${rival ?? '–'} | ${target} | ${met ? 'yes' : '**no**'} |`,
  )
  return ['| figure | measured | beside it, same run | target | met |', '|---|---|---|---|---|', ...rows].join('\n')
}
