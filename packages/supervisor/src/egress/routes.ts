import { CoppiceError } from '@coppice/protocol/wire'
import type { Routes } from '../session/router.ts'
import type { Egress } from './egress.ts'

/** The routes on which a gateway answers the questions of a sandbox's programs and brings their connections. */
export function egressRoutes(egress: Egress): Routes {
  return {
    'POST /egress': (request) => egress.attach(request),
    'POST /egress/:id': ({ stream, param }) => {
      const known = /^[1-9]\d{0,15}$/.test(param) && egress.reached(Number(param), { stream })
      if (known) return
      throw new CoppiceError(
        'not_found',
        'no_such_connection',
        `Nobody waits for the connection ${param.slice(0, 20)}.`,
      )
    },
  }
}
