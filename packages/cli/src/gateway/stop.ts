import { setTimeout as delay } from 'node:timers/promises'
import { Coppice, CoppiceError, runningGateway } from '@coppice/sdk'

/** A gateway that takes longer to end is told about, milliseconds. */
const STOP_LIMIT_MS = 30_000
const POLL_MS = 10

/** Ends a home's gateway and waits until its process is gone. Returns its pid, or undefined when none ran. */
export async function stopGateway(home: string): Promise<number | undefined> {
  const record = runningGateway(home)
  if (!record) return undefined
  const client = new Coppice({ home })
  try {
    await client.shutdown()
  } catch (error) {
    // It may be gone before its answer is.
    if (!(error instanceof CoppiceError) || error.code !== 'unavailable') throw error
  } finally {
    client.close()
  }
  const end = Date.now() + STOP_LIMIT_MS
  while (isAlive(record.pid)) {
    if (Date.now() > end) {
      throw new CoppiceError('deadline_exceeded', 'gateway_slow', `The gateway (pid ${record.pid}) does not end.`, {
        facts: { pid: record.pid },
        hint: `kill ${record.pid}`,
      })
    }
    await delay(POLL_MS)
  }
  return record.pid
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
