import { z } from 'zod'
import { ExecInfoSchema, ExecSpecSchema, ResizeSchema, SignalSchema } from '../exec.ts'
import { SupervisorInfoSchema } from '../session.ts'
import { count, flag, type Route, SANDBOX } from './route.ts'

/** The supervisor and the commands that it runs. */
export const execRoutes = [
  {
    id: 'supervisorInfo',
    method: 'GET',
    path: `${SANDBOX}/info`,
    summary: 'The supervisor itself.',
    answer: SupervisorInfoSchema,
    relayed: true,
  },
  {
    id: 'startExec',
    method: 'POST',
    path: `${SANDBOX}/execs`,
    summary: 'Run a command. The same key attaches to the same exec.',
    query: z.object({ from: count, follow: flag, detach: flag }),
    body: ExecSpecSchema,
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'listExecs',
    method: 'GET',
    path: `${SANDBOX}/execs`,
    summary: 'Running execs, and ended ones whose result is kept.',
    answer: z.object({ execs: z.array(ExecInfoSchema) }),
    relayed: true,
  },
  {
    id: 'inspectExec',
    method: 'GET',
    path: `${SANDBOX}/execs/:exec`,
    summary: 'One exec.',
    answer: ExecInfoSchema,
    relayed: true,
  },
  {
    id: 'execOutput',
    method: 'GET',
    path: `${SANDBOX}/execs/:exec/output`,
    summary: 'Output from an offset on, then the result.',
    query: z.object({ from: count, follow: flag, block: flag }),
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'execStdin',
    method: 'POST',
    path: `${SANDBOX}/execs/:exec/stdin`,
    summary: 'Standard input from an offset on.',
    query: z.object({ offset: count, end: flag }),
    body: 'bytes',
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'signalExec',
    method: 'POST',
    path: `${SANDBOX}/execs/:exec/signal`,
    summary: 'Send a signal.',
    body: SignalSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'resizeExec',
    method: 'POST',
    path: `${SANDBOX}/execs/:exec/resize`,
    summary: 'Change the size of the terminal.',
    body: ResizeSchema,
    answer: 'none',
    relayed: true,
  },
] as const satisfies readonly Route[]
