import type { BuildWork, Coppice, MakeOptions, Taken } from '@coppice/sdk'
import type { Cli } from './cli.ts'
import { interruptible } from './interrupt.ts'
import { type ProgressDisplay, ProgressJson, ProgressLine } from './progress-line.ts'

/** What work on images gets: where it tells what it does, and what ends it. */
export type WorkOptions = Required<Pick<BuildWork, 'onProgress' | 'onLog' | 'signal'>>

/** Does work on images: progress on standard error, as lines of JSON with `--json`; Ctrl-C cancels it. */
export async function imageWork<T>(cli: Cli, work: (gateway: Coppice, options: WorkOptions) => Promise<T>): Promise<T> {
  const gateway = await cli.gateway()
  const display = displayOf(cli)
  try {
    return await interruptible((signal) => work(gateway, { ...listeners(display), signal }))
  } finally {
    display.end()
  }
}

/** What `create` and `run` say until there is an image. `end` before anything else is written. */
export function makeListeners(cli: Cli): { listeners: MakeOptions; end: () => void } {
  const display = displayOf(cli)
  const onTaken = (taken: Taken) => {
    if (cli.json) process.stderr.write(`${JSON.stringify({ event: 'taken', ...taken })}\n`)
    else display.log(describeTaken(taken))
  }
  return { listeners: { ...listeners(display), onTaken }, end: () => display.end() }
}

/** What an image was taken for, in words. */
export function describeTaken({ as, source }: Taken): string {
  switch (as) {
    case 'build':
      return `build of ${source}`
    case 'archive':
      return `archive ${source}`
    case 'image':
      return `image ${source}`
    case 'pull':
      return `pulled ${source}`
  }
}

function displayOf(cli: Cli): ProgressDisplay {
  return cli.json ? new ProgressJson(process.stderr) : new ProgressLine(process.stderr)
}

function listeners(display: ProgressDisplay): Required<Pick<BuildWork, 'onProgress' | 'onLog'>> {
  return { onProgress: (event) => display.show(event), onLog: (line) => display.log(line) }
}
