import { expect, test } from 'vitest'
import { layoutOf } from './detect.ts'

const line = (mount: string, type: string, options: string): string =>
  `30 23 0:26 / ${mount} rw,nosuid shared:4 - ${type} ${type} ${options}`

test('a pure version 2 host', () => {
  expect(layoutOf(line('/sys/fs/cgroup', 'cgroup2', 'rw,nsdelegate'))).toEqual({ version: 2, mount: '/sys/fs/cgroup' })
})

test('a hybrid host counts as version 1, with joined controllers and a named hierarchy', () => {
  const layout = layoutOf(
    [
      line('/sys/fs/cgroup/unified', 'cgroup2', 'rw'),
      line('/sys/fs/cgroup/systemd', 'cgroup', 'rw,xattr,name=systemd'),
      line('/sys/fs/cgroup/cpu,cpuacct', 'cgroup', 'rw,cpu,cpuacct'),
      line('/sys/fs/cgroup/memory', 'cgroup', 'rw,memory'),
      line('/sys/fs/cgroup/pids', 'cgroup', 'rw,pids'),
      line('/sys/fs/cgroup/freezer', 'cgroup', 'rw,freezer'),
    ].join('\n'),
  )
  if (layout?.version !== 1) throw new Error('not version 1')
  expect(Object.fromEntries(layout.controllers)).toEqual({
    cpu: '/sys/fs/cgroup/cpu,cpuacct',
    cpuacct: '/sys/fs/cgroup/cpu,cpuacct',
    memory: '/sys/fs/cgroup/memory',
    pids: '/sys/fs/cgroup/pids',
    freezer: '/sys/fs/cgroup/freezer',
    'name=systemd': '/sys/fs/cgroup/systemd',
    unified: '/sys/fs/cgroup/unified',
  })
})

test('a version 1 host without a controller that is needed is none, unless it has version 2', () => {
  const memory = line('/sys/fs/cgroup/memory', 'cgroup', 'rw,memory')
  expect(layoutOf(memory)).toBeUndefined()
  expect(layoutOf(`${memory}\n${line('/sys/fs/cgroup/unified', 'cgroup2', 'rw')}`)).toMatchObject({ version: 2 })
  expect(layoutOf('')).toBeUndefined()
})
