import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { SecondTry } from './tests/support/second-try.ts'

const systemTests = ['packages/*/src/**/*.system.test.ts', 'tests/**/*.test.ts']

/**
 * System tests that have the machine to themselves, one file after the other, after all others. Those run four at a time, each
 * in homes, engines, cgroups and folders of its own, so a file belongs here for one of three reasons only:
 * - what it promises is a time in milliseconds;
 * - it looks at something of which the machine has one, such as its table of mounts or of routes;
 * - it keeps every core busy by itself: then nothing is saved, and its neighbours' times become a matter of luck.
 */
const alone = [
  'packages/drivers/src/oci/intercept/intercept.system.test.ts',
  'packages/drivers/src/oci/many.system.test.ts',
  'packages/registry/src/file-registry.scale.system.test.ts',
  'tests/chaos/load.test.ts',
  'tests/chaos/short-lease.test.ts',
  'tests/e2e/internet.test.ts',
  'tests/e2e/memory.test.ts',
]

/** Begun first, so that the lanes end together: files that take more than half a minute, those that wait beside those that work. */
const first = [
  'tests/chaos/resets.test.ts',
  'tests/e2e/pushes/memory.test.ts',
  'packages/images/src/bootstrap/bootstrap.system.test.ts',
  // Which makes its image first where there is none, and needs the internet that there is one of as `attacks` does.
  'tests/e2e/network/tools.test.ts',
  'packages/doctor/src/doctor.system.test.ts',
  'tests/e2e/pushes/faults.test.ts',
  'tests/e2e/checkpoints.test.ts',
  'packages/drivers/src/engine/saves.system.test.ts',
  'packages/drivers/src/engine/driver-podman.system.test.ts',
  'packages/drivers/src/engine/driver-docker.system.test.ts',
  'tests/chaos/cuts.test.ts',
  'tests/e2e/network/attacks.test.ts',
  'tests/chaos/liveness.test.ts',
  'packages/registry/src/file-registry.kills.system.test.ts',
  'packages/images/src/registry/registry.system.test.ts',
]

/** Begun last: of those that stand on the fake internet, of which a machine has one at a time, others are begun first. */
const last = ['tests/e2e/network/work.test.ts']

/** As vitest sorts files, but for those of `first` and `last`. */
class Order extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const group = ({ project }: TestSpecification) => project.config.sequence.groupOrder
    const place = ({ moduleId }: TestSpecification) => {
      const at = (list: string[]) => list.findIndex((file) => moduleId.endsWith(`/${file}`))
      if (at(first) >= 0) return at(first) - first.length
      return at(last) + 1
    }
    return (await super.sort(files)).toSorted((a, b) => group(a) - group(b) || place(a) - place(b))
  }
}

const common = {
  // See those files: a folder for each run and for each test file in it, and a check that nothing is left.
  globalSetup: ['tests/support/run.ts'],
  setupFiles: ['tests/support/temporary-folder.ts'],
  // What is waited for comes at once, and on a machine that has other things to do a while later. One second is too short for that.
  expect: { poll: { timeout: 15_000 } },
}
const system = {
  ...common,
  testTimeout: 120_000,
  hookTimeout: 300_000,
  // In the whole run, which takes a quarter of an hour: real engines, real faults and a thousand tests beside one another. One that
  // passes only the second time is printed as such (`retry x1`), and is a defect to be found. By hand nothing is tried twice.
  retry: process.env.COPPICE_TEST_ALONE ? 1 : 0,
}

export default defineConfig({
  test: {
    sequence: { sequencer: Order },
    reporters: ['default', new SecondTry()],
    projects: [
      {
        test: {
          ...common,
          name: 'fast',
          include: ['packages/*/src/**/*.test.ts'],
          exclude: ['**/node_modules/**', ...systemTests],
          // Nothing is promised by it: a machine that has other things to do needs its time.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          ...system,
          name: 'system',
          include: systemTests,
          exclude: ['**/node_modules/**', ...alone],
          // On two cores: half of the time a file waits, for a lease to run out, an engine, a disk.
          maxWorkers: 4,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...system,
          name: 'alone',
          include: alone,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
})
