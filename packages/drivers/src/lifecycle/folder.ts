import { join } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/** Ids become names of folders and cgroups. */
const ID = /^[a-z0-9][a-z0-9-]{0,62}$/

/** One sandbox's folder: `<drivers>/<driver>/<sandbox id>/`. */
export class SandboxFolder {
  readonly id: string
  readonly path: string

  /** Throws `invalid_argument/bad_sandbox_id` for an id that cannot be a folder's name. */
  constructor(root: string, id: string) {
    if (!isSandboxId(id))
      throw new CoppiceError('invalid_argument', 'bad_sandbox_id', `"${id}" cannot be a sandbox id.`)
    this.id = id
    this.path = join(root, id)
  }

  get record(): string {
    return join(this.path, 'record.json')
  }

  /** Output of the init, and of the supervisor before it opens its own log. */
  get initLog(): string {
    return join(this.path, 'init.log')
  }

  /** Mounted at `/.coppice-state`. The sandbox's root can write anything into it. */
  get state(): string {
    return join(this.path, 'state')
  }
}

/** True for a name that can be a sandbox's folder. */
export function isSandboxId(name: string): boolean {
  return ID.test(name)
}
