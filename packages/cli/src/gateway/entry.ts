import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { CoppiceError } from '@coppice/sdk'

/** The gateway's program, found from where this program lies. @throws `internal/gateway_missing`. */
export function gatewayEntry(): string {
  const start = realpathSync(process.argv[1] ?? '.')
  for (let folder = dirname(start); folder !== dirname(folder); folder = dirname(folder)) {
    const entry = join(folder, 'packages', 'gateway', 'src', 'main.ts')
    if (existsSync(entry)) return entry
  }
  throw new CoppiceError('internal', 'gateway_missing', `The gateway's program was not found above ${start}.`)
}
