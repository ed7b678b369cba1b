import { Command } from 'commander'
import { describe, expect, it } from 'vitest'
import { addCreateOptions, type CreateFlags, createOptions } from './create-options.ts'

function networkOf(...argv: string[]) {
  const command = addCreateOptions(new Command().exitOverride())
  command.parse(argv, { from: 'user' })
  return createOptions(command.opts<CreateFlags>()).network
}

describe('what a new sandbox may reach', () => {
  it.each([
    [[], undefined],
    [['--network', 'none'], { mode: 'none', allow: undefined }],
    [['--allow', 'a.example'], { mode: undefined, allow: ['a.example'] }],
    [
      ['--allow', 'a.example', '--allow', '*.b.example:22'],
      { mode: undefined, allow: ['a.example', '*.b.example:22'] },
    ],
    [['--network', 'audit', '--allow', 'a.example'], { mode: 'audit', allow: ['a.example'] }],
  ])('%j is %j', (argv, option) => {
    expect(networkOf(...argv)).toEqual(option)
  })
})
