import { z } from 'zod'
import { ERROR_CODES } from './errors.ts'
import { FRAMES_MEDIA_TYPE } from './frames.ts'
import { type Answer, type Body, type Route, routes } from './routes/index.ts'

/** A JSON value: what an OpenAPI document is made of. */
type Json = Record<string, unknown>

const errorSchema = {
  type: 'object',
  required: ['error'],
  properties: {
    error: {
      type: 'object',
      required: ['code', 'reason', 'message', 'retryable'],
      properties: {
        code: { enum: ERROR_CODES },
        reason: { type: 'string' },
        message: { type: 'string' },
        retryable: { type: 'boolean' },
        facts: { type: 'object' },
        hint: { type: 'string' },
      },
    },
  },
}

/** The OpenAPI 3.1 document of the gateway, made from `routes`; nothing in it is written by hand. */
export function openApiDocument(version: string): Json {
  const paths: Record<string, Json> = {}
  for (const route of routes as readonly Route[]) {
    const path = route.path.replace(/:(\w+)/g, '{$1}')
    paths[path] ??= {}
    paths[path][route.method.toLowerCase()] = operation(route)
  }
  return {
    openapi: '3.1.0',
    info: { title: 'Coppice gateway', version, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: { token: { type: 'http', scheme: 'bearer' } },
      schemas: { Error: errorSchema },
    },
  }
}

function operation(route: Route): Json {
  const value: Json = {
    operationId: route.id,
    summary: route.summary,
    parameters: [...pathParameters(route.path), ...queryParameters(route)],
    responses: {
      [route.answer === 'none' ? '204' : '200']: { description: 'Done.', ...answerContent(route.answer) },
      default: {
        description: 'Not done.',
        content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
      },
    },
  }
  if (route.open) value.security = []
  if (route.body) value.requestBody = { required: true, content: bodyContent(route.body) }
  return value
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/:(\w+)/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

function queryParameters(route: Route): Json[] {
  if (!route.query) return []
  const schema = z.toJSONSchema(route.query, { io: 'input', unrepresentable: 'any' })
  const required = new Set(schema.required ?? [])
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    in: 'query',
    required: required.has(name),
    schema: property,
  }))
}

function bodyContent(body: Body): Json {
  if (body === 'bytes') return { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } }
  return { 'application/json': { schema: z.toJSONSchema(body, { io: 'input', unrepresentable: 'any' }) } }
}

function answerContent(answer: Answer): Json {
  switch (answer) {
    case 'none':
      return {}
    case 'frames':
      return { content: { [FRAMES_MEDIA_TYPE]: { schema: { type: 'string', format: 'binary' } } } }
    case 'bytes':
      return { content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } } }
    case 'events':
      return { content: { 'application/x-ndjson': { schema: { type: 'string' } } } }
    default:
      return {
        content: { 'application/json': { schema: z.toJSONSchema(answer, { io: 'output', unrepresentable: 'any' }) } },
      }
  }
}
