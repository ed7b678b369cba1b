import { closeSync, fchownSync } from 'node:fs'
import { type FifoStore, openInput, openOutput } from './fifo.ts'
import type { Identity } from './identity.ts'
import { PipeInput } from './input.ts'
import { PipeSource } from './source.ts'

/** The stdio of one launcher: three FIFOs that belong to the exec's user. */
export interface Pipes {
  /** Standard output and standard error, as the supervisor reads them. */
  readonly sources: readonly [PipeSource, PipeSource]
  readonly input: PipeInput
  /** Descriptors for the launcher's own 1 and 2. */
  readonly outputs: readonly [number, number]
  /** Path that the launcher opens for the program's standard input. */
  readonly inputPath: string
  /** Call it when the launcher has its outputs, or could not be started. */
  handedOver(): void
  /** Call it when the launcher has opened `inputPath`, or never will. */
  inputOpened(): void
  /** Closes the supervisor's ends. */
  destroy(): void
}

/** Opens the FIFOs of a launcher. `identity` undefined: they stay the supervisor's. Leaves nothing open when it throws. */
export async function openPipes(fifos: FifoStore, identity: Identity | undefined): Promise<Pipes> {
  const inputPath = await fifos.take()
  const paths = [await fifos.take(), await fifos.take()] as const
  const undo: (() => void)[] = []
  try {
    const [out, err] = paths.map((path) => {
      const ends = openOutput(path)
      undo.push(() => [ends.ours, ends.theirs].forEach((fd) => void closeSync(fd)))
      return ends
    }) as [ReturnType<typeof openOutput>, ReturnType<typeof openOutput>]
    const input = openInput(inputPath)
    undo.push(() => closeSync(input.ours), input.opened)
    if (identity) for (const { ours } of [out, err, input]) fchownSync(ours, identity.uid, identity.gid)
    const sources = [new PipeSource(out.ours), new PipeSource(err.ours)] as const
    const sink = new PipeInput(input.ours)
    return {
      sources,
      input: sink,
      outputs: [out.theirs, err.theirs],
      inputPath,
      handedOver: () => {
        closeSync(out.theirs)
        closeSync(err.theirs)
      },
      inputOpened: input.opened,
      destroy: () => {
        for (const source of sources) source.destroy()
        sink.destroy()
      },
    }
  } catch (error) {
    for (const close of undo) close()
    throw error
  }
}
