import { execFile } from 'node:child_process'
import { basename } from 'node:path'
import { promisify } from 'node:util'
import { CoppiceError } from '@coppice/protocol/wire'

const run = promisify(execFile)

/** What dynamically linked files need to run with a loader of their own. */
export interface SharedLibraries {
  /** The dynamic loader's path; empty when nothing needs one. */
  loader: string
  /** File name that is looked for → path on this machine. */
  libraries: Map<string, string>
}

/** Asks `ldd` for everything that the files need, directly or not. Static files need nothing. */
export async function sharedLibraries(files: string[]): Promise<SharedLibraries> {
  const found: SharedLibraries = { loader: '', libraries: new Map() }
  for (const file of files) parse(await ldd(file), file, found)
  return found
}

async function ldd(file: string): Promise<string> {
  try {
    return (await run('ldd', [file], { env: { ...process.env, LC_ALL: 'C' } })).stdout
  } catch (cause) {
    const { code, stdout, stderr } = cause as { code?: unknown; stdout?: string; stderr?: string }
    if (`${stdout}${stderr}`.includes('not a dynamic executable')) return ''
    throw new CoppiceError('failed_precondition', 'runtime_input_missing', `ldd could not read ${file}.`, {
      facts: { file, stderr: String(stderr ?? '').slice(0, 1000) },
      hint: code === 'ENOENT' ? 'apt-get install libc-bin' : `ldd ${file}`,
      cause,
    })
  }
}

function parse(output: string, file: string, found: SharedLibraries): void {
  for (const line of output.split('\n')) {
    const [, name, path] = /^\s*(\S+) => (\S+|not found)/.exec(line) ?? []
    if (path?.startsWith('/')) found.libraries.set(basename(name ?? path), path)
    else if (name) {
      throw new CoppiceError(
        'failed_precondition',
        'runtime_input_missing',
        `${file} needs ${name}, which is not here.`,
        {
          facts: { file, library: name },
          hint: `apt-get install apt-file && apt-file search ${name}`,
        },
      )
    }
    const [, loader] = /^\s*(\/\S+\/ld-\S+)\s+\(/.exec(line) ?? []
    if (loader) found.loader = loader
  }
}
