import {
  ExecSpecSchema,
  MkdirSchema,
  MoveSchema,
  RemoveSchema,
  ResizeSchema,
  SignalSchema,
  SupervisorConfigSchema,
} from '@coppice/protocol'
import { Ajv2020 } from 'ajv/dist/2020.js'
import standaloneModule from 'ajv/dist/standalone/index.js'
import type { Plugin } from 'esbuild'
import { z } from 'zod'

/** What the supervisor imports: one `validate(value): boolean` with `.errors` for each name below; defaults are filled in place. */
export const VALIDATORS_MODULE = 'coppice:validators'

const SCHEMAS = {
  execSpec: ExecSpecSchema,
  signal: SignalSchema,
  resize: ResizeSchema,
  mkdir: MkdirSchema,
  move: MoveSchema,
  remove: RemoveSchema,
  supervisorConfig: SupervisorConfigSchema,
} satisfies Record<string, z.ZodType>

/**
 * The protocol's schemas as plain validating functions, so that a supervisor loads no schema library (13 MB of its memory).
 * What JSON Schema cannot say is not checked by them: zod's `.refine` of an exec (either argv or shell).
 */
export function validatorsSource(): string {
  const ajv = new Ajv2020({
    code: { source: true, esm: true },
    useDefaults: true,
    // As zod counts and matches: UTF-16 units, no `u` flag.
    unicode: false,
    logger: false,
    unicodeRegExp: false,
    strict: false,
  })
  const references: Record<string, string> = {}
  for (const [name, schema] of Object.entries(SCHEMAS)) {
    ajv.addSchema(z.toJSONSchema(schema, { io: 'input' }) as Record<string, unknown>, name)
    references[name] = name
  }
  return standaloneModule.default(ajv, references)
}

/** Lets esbuild resolve `coppice:validators`. */
export function validatorsPlugin(): Plugin {
  return {
    name: VALIDATORS_MODULE,
    setup(build) {
      build.onResolve({ filter: /^coppice:validators$/ }, () => ({ path: VALIDATORS_MODULE, namespace: 'coppice' }))
      build.onLoad({ filter: /.*/, namespace: 'coppice' }, async () => ({
        // Names too, unlike elsewhere: nobody reads this code, and each of its hundreds of names costs the supervisor memory.
        contents: (await build.esbuild.transform(validatorsSource(), { minify: true, format: 'esm' })).code,
        loader: 'js',
        resolveDir: import.meta.dirname,
      }))
    },
  }
}
