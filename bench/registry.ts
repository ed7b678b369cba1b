import { FileRegistry } from '@coppice/registry'
import { fileFixture, fillKind, type Measured, measureAnew, startWriter } from '@coppice/registry/testing'
import { type Figure, ms, quantile } from './figures.ts'
import { createsBesideReaders } from './registry/creates.ts'

const ENTRIES = 10_000
const CREATES = 500
/** 100 updates by 8 processes. */
const SHARES = [13, 13, 13, 13, 12, 12, 12, 12]

/** What it costs to remember. Needs no sandbox. */
export async function registry(): Promise<Figure[]> {
  // ext4 makes files slowly for a minute after thousands were deleted beside them, so what creates many comes first.
  const crowd = await crowded()
  return [await contended(), ...(await large()), crowd]
}

async function contended(): Promise<Figure> {
  const fixture = await fileFixture()
  try {
    const tallies = (await FileRegistry.open(fixture.place)).kind<{ total: number; writers: object }>('tallies')
    await tallies.put('t', { total: 0, writers: {} })
    const writers = SHARES.map((share, at) => startWriter(fixture, `w${at}`, share))
    await Promise.all(writers.map((writer) => writer.ready))
    const start = performance.now()
    for (const writer of writers) writer.go()
    await Promise.all(writers.map((writer) => writer.ended))
    const elapsed = performance.now() - start
    const landed = (await tallies.get('t'))?.value.total ?? 0
    return {
      name: '100 updates of one entry from 8 processes',
      value: `${ms(elapsed)}, ${landed} landed`,
      target: '< 1 s, 100 of 100',
      met: elapsed < 1000 && landed === 100,
    }
  } finally {
    await fixture.close()
  }
}

async function large(): Promise<Figure[]> {
  const fixture = await fileFixture()
  try {
    fillKind(fixture.place, 'sandboxes', ENTRIES, () => 'good')
    const runs: Measured[] = []
    for (let run = 0; run < 5; run++) runs.push(await measureAnew(fixture.place))
    const median = (field: 'listMs' | 'heldMs' | 'readP99Ms') =>
      quantile(
        runs.map((run) => run[field]),
        0.5,
      )
    const [listMs, heldMs, readP99Ms] = [median('listMs'), median('heldMs'), median('readP99Ms')]
    return [
      {
        name: `point read among ${ENTRIES} entries, p99`,
        value: ms(readP99Ms),
        target: '< 1 ms',
        met: readP99Ms < 1,
      },
      {
        name: `first list of ${ENTRIES} entries by a new process`,
        value: `${ms(listMs)}, event loop held ${ms(heldMs)} at most`,
        target: '< 400 ms, ≤ 20 ms',
        met: listMs < 400 && heldMs <= 20,
      },
    ]
  } finally {
    await fixture.close()
  }
}

async function crowded(): Promise<Figure> {
  const own = await createsBesideReaders('registry', CREATES)
  const document = await createsBesideReaders('document', CREATES)
  const ratio = own.perSecond / document.perSecond
  const words = (reads: number[]) => `read p50 ${ms(quantile(reads, 0.5))}, p99 ${ms(quantile(reads, 0.99))}`
  return {
    name: `create of ${CREATES} entries at once while 8 processes read`,
    value: `${own.perSecond.toFixed(0)}/s, ${words(own.readsMs)}`,
    rival: `one locked JSON document ${document.perSecond.toFixed(0)}/s, ${words(document.readsMs)}: 1/${ratio.toFixed(0)} of ours`,
    target: '≥ 20 times one locked JSON document',
    met: ratio >= 20,
  }
}
