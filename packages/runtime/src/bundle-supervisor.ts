import { dirname, resolve } from 'node:path'
import { CoppiceError } from '@coppice/protocol/wire'

/** The supervisor as one file. */
export interface SupervisorBundle {
  code: Buffer
  /** Files that it was made from, absolute. */
  sources: string[]
}

/**
 * Bundles the supervisor's entry file with everything it imports except `@lydell/node-pty`, which has a binary part. Whitespace
 * goes, names stay: a stack trace in the supervisor's log must be readable.
 */
export async function bundleSupervisor(entry: string): Promise<SupervisorBundle> {
  // Loaded here, not above: a staged bundle is found again without esbuild, ajv and zod.
  const [{ build }, { validatorsPlugin }] = await Promise.all([import('esbuild'), import('./validators-plugin.ts')])
  const root = dirname(entry)
  try {
    const result = await build({
      entryPoints: [entry],
      absWorkingDir: root,
      outfile: 'supervisor.mjs',
      write: false,
      bundle: true,
      metafile: true,
      platform: 'node',
      format: 'esm',
      target: 'node22',
      minifyWhitespace: true,
      minifySyntax: true,
      legalComments: 'none',
      logLevel: 'silent',
      external: ['@lydell/node-pty'],
      plugins: [validatorsPlugin()],
      // CommonJS packages in the bundle call require() for Node's own modules.
      banner: {
        js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
      },
    })
    const sources = Object.keys(result.metafile.inputs)
      .filter((input) => !input.startsWith('coppice:'))
      .map((input) => resolve(root, input))
    const code = result.outputFiles[0]?.contents ?? new Uint8Array()
    return { code: Buffer.from(code), sources }
  } catch (cause) {
    throw new CoppiceError(
      'internal',
      'supervisor_bundle_failed',
      `The supervisor could not be bundled from ${entry}.`,
      {
        facts: { entry, detail: cause instanceof Error ? cause.message.slice(0, 4000) : String(cause) },
        hint: 'npm install',
        cause,
      },
    )
  }
}
