import type { Progress } from '@coppice/protocol/wire'

/**
 * What debootstrap says on its report channel (`--debian-installer`): `P: <now> <end> [<stage>]`, and messages as a code
 * (`I:`, `W:`, `E:`), its arguments (`IA:`…) and its format (`IF:`…).
 *
 * Each stage is given its share of the whole by how long it took here (2 cores, packages on the disk already, 38 s).
 */
const STAGES: [code: string, start: number, end: number][] = [
  ['DOWNREL', 0, 1],
  ['DOWNRELSIG', 1, 2],
  ['DOWNPKGS', 2, 4],
  ['SIZEDEBS', 4, 16],
  ['DOWNDEBS', 16, 26],
  ['EXTRACTPKGS', 26, 34],
  ['INSTCORE', 34, 44],
  ['UNPACKREQ', 44, 58],
  ['CONFREQ', 58, 64],
  ['UNPACKBASE', 64, 92],
  ['CONFBASE', 92, 100],
]

export class DebootstrapReport {
  readonly #report: (message: string, percent: number) => void
  #stage = STAGES[0]
  #percent = 0
  #arguments: string[] = []
  #error = ''

  /** @param report gets a sentence and how much of debootstrap's work is done, 0 to 100, never falling. */
  constructor(report: (message: string, percent: number) => void) {
    this.#report = report
  }

  /** The last error that it reported, or ''. */
  get error(): string {
    return this.#error
  }

  line(line: string): void {
    const [, kind = '', rest = ''] = /^([A-Z]{1,2}): ?(.*)$/.exec(line) ?? []
    switch (kind) {
      case 'P':
        this.#progress(rest)
        break
      case 'I':
      case 'W':
      case 'E':
        this.#arguments = []
        break
      case 'IA':
      case 'WA':
      case 'EA':
        this.#arguments.push(rest)
        break
      case 'IF':
        this.#report(this.#sentence(rest), this.#percent)
        break
      case 'EF':
        this.#error = this.#sentence(rest)
        break
    }
  }

  #progress(text: string): void {
    const [now, end, code] = text.split(' ')
    this.#stage = STAGES.find(([known]) => known === code) ?? this.#stage
    const share = Number(now) / Number(end)
    if (!this.#stage || !(share >= 0 && share <= 1)) return
    const [, start, stop] = this.#stage
    this.#percent = Math.max(this.#percent, Math.floor(start + share * (stop - start)))
  }

  #sentence(format: string): string {
    let at = 0
    return format.replaceAll('%s', () => this.#arguments[at++] ?? '').trim()
  }
}

/** Reports a share of one piece of work as part of a larger one, in percent. */
export function percentOf(progress: Progress, start: number, end: number): (message: string, percent: number) => void {
  return (message, percent) =>
    progress.report({ message, done: Math.floor(start + (percent / 100) * (end - start)), total: 100, unit: 'items' })
}
