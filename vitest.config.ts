import { defineConfig } from 'vitest/config'

const systemTests = ['packages/*/src/**/*.system.test.ts', 'tests/**/*.test.ts']

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'fast',
          include: ['packages/*/src/**/*.test.ts'],
          exclude: ['**/node_modules/**', ...systemTests],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'system',
          include: systemTests,
          testTimeout: 120_000,
          hookTimeout: 300_000,
          // Engines, mounts and cgroups are the machine's: one file at a time keeps a test's "as it was" check true.
          fileParallelism: false,
        },
      },
    ],
  },
})
