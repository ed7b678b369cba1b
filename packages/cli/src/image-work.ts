import type { Coppice, MakeOptions, Taken } from '@coppice/sdk'
import type { Cli } from './cli.ts'
import { interruptible } from './interrupt.ts'
import { ProgressJson, ProgressLine } from './progress-line.ts'

/** What work on images gets: where it tells what it does, and what ends it. */
export type WorkOptions = { [Name in keyof MakeOptions]-?: NonNullable<MakeOptions[Name]> }

/** Does work on images: progress on standard error, as lines of JSON with `--json`; Ctrl-C cancels it. */
export async function imageWork<T>(cli: Cli, work: (gateway: Coppice, options: WorkOptions) => Promise<T>): Promise<T> {
  const gateway = await cli.gateway()
  const display = cli.json ? new ProgressJson(process.stderr) : new ProgressLine(process.stderr)
  const listeners: Omit<WorkOptions, 'signal'> = {
    onProgress: (event) => display.show(event),
    onLog: (line) => display.log(line),
    onTaken: (taken) => display.taken(taken, describeTaken(taken)),
  }
  try {
    return await interruptible((signal) => work(gateway, { ...listeners, signal }))
  } finally {
    display.end()
  }
}

/** What an image was taken for, in words. */
export function describeTaken({ as, source, known }: Taken): string {
  switch (as) {
    case 'build':
      return `build of ${source}`
    case 'archive':
      return known ? `archive ${source}, imported before: not sent again` : `archive ${source}`
    case 'image':
      return `image ${source}`
    case 'checkpoint':
      return `checkpoint ${source}`
    case 'pull':
      return `pulled ${source}`
  }
}
