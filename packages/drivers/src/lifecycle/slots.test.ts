import { Progress } from '@coppice/protocol/wire'
import { expect, test } from 'vitest'
import { Slots } from './slots.ts'
import { Turns } from './turns.ts'

const gate = (): { opened: Promise<void>; open: () => void } => {
  let open = (): void => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

test('slots let so many run at once and keep the order of the others', async () => {
  const slots = new Slots(2)
  const gates = [gate(), gate(), gate(), gate()]
  const began: number[] = []
  const works = gates.map(({ opened }, index) =>
    slots.run(Progress.none(), async () => {
      began.push(index)
      await opened
    }),
  )
  await new Promise(setImmediate)
  expect(began).toEqual([0, 1])
  gates[1]?.open()
  await works[1]
  await new Promise(setImmediate)
  expect(began).toEqual([0, 1, 2])
  for (const { open } of gates) open()
  await Promise.all(works)
  expect(began).toEqual([0, 1, 2, 3])
})

test('who waits for a slot leaves when the progress ends, and the slot goes to the next', async () => {
  const slots = new Slots(1)
  const first = gate()
  const running = slots.run(Progress.none(), () => first.opened)
  const abort = new AbortController()
  const left = slots.run(new Progress({ signal: abort.signal }), async () => 'ran')
  const next = slots.run(Progress.none(), async () => 'ran')
  abort.abort()
  await expect(left).rejects.toMatchObject({ code: 'cancelled' })
  first.open()
  await running
  expect(await next).toBe('ran')
})

test('a slot is free again after work that failed', async () => {
  const slots = new Slots(1)
  await expect(slots.run(Progress.none(), () => Promise.reject(new Error('failed')))).rejects.toThrow('failed')
  expect(await slots.run(Progress.none(), async () => 'ran')).toBe('ran')
})

test('turns follow each other under one id, also after a failure, and do not wait for other ids', async () => {
  const turns = new Turns()
  const hold = gate()
  const order: string[] = []
  const first = turns.take('a', async () => {
    await hold.opened
    order.push('first')
    throw new Error('failed')
  })
  const second = turns.take('a', async () => order.push('second'))
  await turns.take('b', async () => order.push('other'))
  hold.open()
  await expect(first).rejects.toThrow('failed')
  await second
  expect(order).toEqual(['other', 'first', 'second'])
})
