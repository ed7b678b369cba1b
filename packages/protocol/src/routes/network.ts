import { z } from 'zod'
import {
  ChangeNetworkSchema,
  ListeningPortSchema,
  NetworkStateSchema,
  NetworkSuggestionSchema,
  PreviewSchema,
} from '../network.ts'
import { count, flag, type Route, SANDBOX } from './route.ts'

/** What a sandbox reaches, and what reaches it. */
export const networkRoutes = [
  {
    id: 'inspectNetwork',
    method: 'GET',
    path: `${SANDBOX}/network`,
    summary: 'What the sandbox may reach, and counts of what it did.',
    answer: NetworkStateSchema,
  },
  {
    id: 'changeNetwork',
    method: 'POST',
    path: `${SANDBOX}/network`,
    summary: 'Change the policy: the next connection obeys, open ones that it refuses are cut.',
    body: ChangeNetworkSchema,
    answer: NetworkStateSchema,
  },
  {
    id: 'suggestNetwork',
    method: 'GET',
    path: `${SANDBOX}/network/suggestion`,
    summary: 'The smallest allow-list that would have allowed what was used.',
    answer: NetworkSuggestionSchema,
  },
  {
    id: 'egressLog',
    method: 'GET',
    path: `${SANDBOX}/egress`,
    summary: 'Lines of JSON, one `EgressRecord` each, oldest first.',
    query: z.object({ denied: flag, limit: count }),
    answer: 'bytes',
  },
  {
    id: 'setPreview',
    method: 'PUT',
    path: `${SANDBOX}/ports/:port/preview`,
    summary: 'The address under which a port is served, with or without a token.',
    body: z.object({ public: z.boolean().optional() }),
    answer: PreviewSchema,
  },
  {
    id: 'listPorts',
    method: 'GET',
    path: `${SANDBOX}/ports`,
    summary: 'What listens inside.',
    answer: z.object({ ports: z.array(ListeningPortSchema) }),
    relayed: true,
  },
] as const satisfies readonly Route[]
