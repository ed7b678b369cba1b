import { mkdirSync, renameSync, rmSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { build, type Plugin } from 'esbuild'

/**
 * Makes the CLI into one file, so that its start is not felt: `node bundle.ts [OUT]`, default `dist/coppice.cjs`.
 *
 * CommonJS, because `import` of node:http as a module loads what is behind its lazy exports (25 ms), and `require` does not.
 * The file appears under its name only when it is whole: several that are made at once do not disturb each other.
 */
const root = resolve(import.meta.dirname, '../../..')
const source = resolve(import.meta.dirname, '../src')
const target = resolve(process.argv[2] ?? `${root}/dist/coppice.cjs`)
const draft = `${target}.${process.pid}.new`

/** Keeps modules of Node out of the start that are expensive to load and hardly used. */
const lean: Plugin = {
  name: 'lean',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^node:crypto$/ }, () => ({ path: `${source}/random-bytes.ts` }))
    // Commander starts programs for subcommands that are files of their own. There are none here.
    onResolve({ filter: /^node:child_process$/ }, ({ importer }) =>
      importer.includes('/commander/') ? { path: 'no-child-process', namespace: 'lean' } : undefined,
    )
    onLoad({ filter: /.*/, namespace: 'lean' }, () => ({ contents: 'export default {}' }))
  },
}

mkdirSync(dirname(target), { recursive: true })
try {
  await build({
    entryPoints: [`${source}/main.ts`],
    outfile: draft,
    bundle: true,
    platform: 'node',
    target: 'node22.18',
    format: 'cjs',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    logLevel: 'warning',
    plugins: [lean],
  })
  renameSync(draft, target)
} finally {
  rmSync(draft, { force: true })
}
