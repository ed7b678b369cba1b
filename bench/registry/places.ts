import { FileRegistry } from '@coppice/registry'
import { openDocument } from './locked-document.ts'

/** What both sides of the comparison can do. */
export interface Place {
  create(id: string, value: object): Promise<unknown>
  get(id: string): Promise<unknown>
}

/** The two ways to keep entries that are compared. */
export type Way = 'registry' | 'document'

/** Opens a folder as one or the other. */
export async function openPlace(way: Way, folder: string): Promise<Place> {
  if (way === 'document') return openDocument(folder)
  const store = (await FileRegistry.open(folder)).kind('sandboxes')
  return {
    create: (id, value) => store.put(id, value, { expect: 'absent' }),
    get: (id) => store.get(id),
  }
}
