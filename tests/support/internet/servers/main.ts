// The servers of the fake internet. Runs inside its network namespace, for as long as the test that started it lives.
import { Journal } from './journal.ts'
import { Names } from './names.ts'
import type { Answer, Order, Seen } from './protocol.ts'
import { listenProxy } from './proxy.ts'
import { listenRaw } from './raw.ts'
import { listenWeb } from './web.ts'

const journal = new Journal()
const names = new Names(journal)

async function obey(order: Order): Promise<Seen | null> {
  switch (order.order) {
    case 'start':
      for (const [name, settings] of Object.entries(order.names)) names.set(name, settings)
      await names.listen()
      await listenRaw(journal)
      await listenProxy(journal, names)
      await listenWeb(journal, order)
      return null
    case 'name':
      names.set(order.name, order.settings)
      return null
    case 'seen':
      return journal.seen()
    case 'forget':
      journal.forget()
      return null
  }
}

process.on('message', ({ id, ...order }: Order & { id: number }) => {
  const answer = (text: Answer): void => void process.send?.(text)
  obey(order).then(
    (result) => answer({ id, result }),
    (error: Error) => answer({ id, error: error.message }),
  )
})
process.on('disconnect', () => process.exit())
// A peer that misbehaves is what tests are about: the other servers go on.
process.on('uncaughtException', (error) => console.error(error))
