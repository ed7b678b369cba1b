import { describe, expect, it } from 'vitest'
import { DebootstrapReport } from './debootstrap-report.ts'

describe('debootstrap report', () => {
  it('becomes sentences and percent that never fall', () => {
    const seen: [string, number][] = []
    const report = new DebootstrapReport((message, percent) => seen.push([message, percent]))
    const lines = [
      ...['P: 0 100 DOWNREL', 'PF: Downloading Release file', 'I: RETRIEVING', 'IA: InRelease', 'IF: Retrieving %s'],
      ...['P: 50 100 DOWNPKGS', 'P: 100 100', 'I: VALIDATING', 'IA: apt', 'IA: 2.6.1', 'IF: Validating %s %s'],
      ...[
        'P: 44 88 UNPACKREQ',
        'I: UNPACKING',
        'IA: bash',
        'IF: Unpacking %s...',
        'P: 1 88 UNPACKREQ',
        'P: x y CONFBASE',
      ],
      ...['P: 47 47 CONFBASE', 'I: DONE', 'IF: Base system installed successfully.', 'noise'],
    ]
    for (const line of lines) report.line(line)
    expect(seen).toEqual([
      ['Retrieving InRelease', 0],
      ['Validating apt 2.6.1', 4],
      ['Unpacking bash...', 51],
      ['Base system installed successfully.', 100],
    ])
    expect(report.error).toBe('')
  })

  it('keeps the last error', () => {
    const report = new DebootstrapReport(() => undefined)
    for (const line of ['E: LEFTOVERDEBS', 'EA: nopackage', "EF: Couldn't find these debs: %s"]) report.line(line)
    expect(report.error).toBe("Couldn't find these debs: nopackage")
  })
})
