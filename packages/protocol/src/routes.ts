import { z } from 'zod'
import { ExecInfoSchema, ExecSpecSchema, ResizeSchema, SignalSchema } from './exec.ts'
import { FileListSchema, FileStatSchema, MkdirSchema, MoveSchema, RemoveSchema, UploadStateSchema } from './files.ts'
import { ImageInfoSchema } from './image.ts'
import {
  ChangeNetworkSchema,
  ListeningPortSchema,
  NetworkStateSchema,
  NetworkSuggestionSchema,
  PreviewSchema,
} from './network.ts'
import {
  CreateSandboxSchema,
  GatewayStatusSchema,
  ResourceUseSchema,
  SandboxInfoSchema,
  SandboxInspectionSchema,
} from './sandbox.ts'
import { SupervisorInfoSchema } from './session.ts'

/** What a body is: a schema for JSON, or raw bytes that are streamed and never held. */
export type Body = z.ZodType | 'bytes'

/** `frames`: frames.ts. `events`: lines of JSON, `ImageEvent`s. `none`: 204. */
export type Answer = z.ZodType | 'frames' | 'bytes' | 'events' | 'none'

/** One operation of the HTTP API. Server, OpenAPI document and clients are all made from these. */
export interface Route {
  id: string
  method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Fastify style: `:sandbox` is a sandbox's id or name. */
  path: string
  summary: string
  query?: z.ZodObject
  body?: Body
  answer: Answer
  /** The gateway only passes it on to the sandbox's supervisor, which serves the same path without `/v1/sandboxes/:sandbox`. */
  relayed?: boolean
  /** Needs no token: it tells nothing that is not public. */
  open?: boolean
}

/** Query values are strings; `1`/`true` is true, everything else that is allowed is false. */
const flag = z.enum(['0', '1', 'true', 'false']).optional()
const count = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional()
const path = z.string().min(1).max(16_384)

const reference = z.string().min(1).max(512)
const platform = z.string().max(64).optional().describe("`linux/arm64`. Default: this machine's.")

const S = '/v1/sandboxes/:sandbox'

export const routes = [
  {
    id: 'health',
    method: 'GET',
    path: '/healthz',
    summary: 'Is a gateway here.',
    answer: z.object({ ok: z.literal(true), version: z.string() }),
    open: true,
  },
  {
    id: 'status',
    method: 'GET',
    path: '/v1/status',
    summary: 'The gateway, its drivers and counts.',
    answer: GatewayStatusSchema,
  },
  {
    id: 'shutdown',
    method: 'POST',
    path: '/v1/shutdown',
    summary: 'End the gateway. Sandboxes go on.',
    answer: 'none',
  },

  {
    id: 'createSandbox',
    method: 'POST',
    path: '/v1/sandboxes',
    summary: 'Create a sandbox and start it.',
    body: CreateSandboxSchema,
    answer: SandboxInfoSchema,
  },
  {
    id: 'listSandboxes',
    method: 'GET',
    path: '/v1/sandboxes',
    summary: 'List sandboxes.',
    query: z.object({ label: z.union([z.string(), z.array(z.string())]).optional(), all: flag }),
    answer: z.object({
      sandboxes: z.array(SandboxInfoSchema),
      skipped: z.array(z.object({ file: z.string(), reason: z.string() })),
    }),
  },
  {
    id: 'inspectSandbox',
    method: 'GET',
    path: S,
    summary: 'One sandbox; a removed one for 7 days. Asked and actual side by side.',
    answer: SandboxInspectionSchema,
  },
  {
    id: 'removeSandbox',
    method: 'DELETE',
    path: S,
    summary: 'End a sandbox and delete its files.',
    answer: SandboxInfoSchema,
  },
  {
    id: 'stopSandbox',
    method: 'POST',
    path: `${S}/stop`,
    summary: 'End all processes, keep the files.',
    body: z.object({ graceMs: z.int().min(0).max(600_000).default(10_000) }),
    answer: SandboxInfoSchema,
  },
  {
    id: 'startSandbox',
    method: 'POST',
    path: `${S}/start`,
    summary: 'Start a stopped sandbox again.',
    answer: SandboxInfoSchema,
  },
  {
    id: 'sandboxLogs',
    method: 'GET',
    path: `${S}/logs`,
    summary: 'What init and supervisor have written.',
    query: z.object({ bytes: count }),
    answer: 'bytes',
  },
  { id: 'sandboxStats', method: 'GET', path: `${S}/stats`, summary: 'Resource use now.', answer: ResourceUseSchema },

  {
    id: 'inspectNetwork',
    method: 'GET',
    path: `${S}/network`,
    summary: 'What the sandbox may reach, and counts of what it did.',
    answer: NetworkStateSchema,
  },
  {
    id: 'changeNetwork',
    method: 'POST',
    path: `${S}/network`,
    summary: 'Change the policy: the next connection obeys, open ones that it refuses are cut.',
    body: ChangeNetworkSchema,
    answer: NetworkStateSchema,
  },
  {
    id: 'suggestNetwork',
    method: 'GET',
    path: `${S}/network/suggestion`,
    summary: 'The smallest allow-list that would have allowed what was used.',
    answer: NetworkSuggestionSchema,
  },
  {
    id: 'egressLog',
    method: 'GET',
    path: `${S}/egress`,
    summary: 'Lines of JSON, one `EgressRecord` each, oldest first.',
    query: z.object({ denied: flag, limit: count }),
    answer: 'bytes',
  },
  {
    id: 'setPreview',
    method: 'PUT',
    path: `${S}/ports/:port/preview`,
    summary: 'The address under which a port is served, with or without a token.',
    body: z.object({ public: z.boolean().optional() }),
    answer: PreviewSchema,
  },
  {
    id: 'listPorts',
    method: 'GET',
    path: `${S}/ports`,
    summary: 'What listens inside.',
    answer: z.object({ ports: z.array(ListeningPortSchema) }),
    relayed: true,
  },

  {
    id: 'supervisorInfo',
    method: 'GET',
    path: `${S}/info`,
    summary: 'The supervisor itself.',
    answer: SupervisorInfoSchema,
    relayed: true,
  },
  {
    id: 'startExec',
    method: 'POST',
    path: `${S}/execs`,
    summary: 'Run a command. The same key attaches to the same exec.',
    query: z.object({ from: count, follow: flag, detach: flag }),
    body: ExecSpecSchema,
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'listExecs',
    method: 'GET',
    path: `${S}/execs`,
    summary: 'Running execs, and ended ones whose result is kept.',
    answer: z.object({ execs: z.array(ExecInfoSchema) }),
    relayed: true,
  },
  {
    id: 'inspectExec',
    method: 'GET',
    path: `${S}/execs/:exec`,
    summary: 'One exec.',
    answer: ExecInfoSchema,
    relayed: true,
  },
  {
    id: 'execOutput',
    method: 'GET',
    path: `${S}/execs/:exec/output`,
    summary: 'Output from an offset on, then the result.',
    query: z.object({ from: count, follow: flag, block: flag }),
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'execStdin',
    method: 'POST',
    path: `${S}/execs/:exec/stdin`,
    summary: 'Standard input from an offset on.',
    query: z.object({ offset: count, end: flag }),
    body: 'bytes',
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'signalExec',
    method: 'POST',
    path: `${S}/execs/:exec/signal`,
    summary: 'Send a signal.',
    body: SignalSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'resizeExec',
    method: 'POST',
    path: `${S}/execs/:exec/resize`,
    summary: 'Change the size of the terminal.',
    body: ResizeSchema,
    answer: 'none',
    relayed: true,
  },

  {
    id: 'readFile',
    method: 'GET',
    path: `${S}/files/content`,
    summary: 'Read a file, from an offset if given.',
    query: z.object({ path, offset: count, length: count }),
    answer: 'bytes',
    relayed: true,
  },
  {
    id: 'writeFile',
    method: 'PUT',
    path: `${S}/files/content`,
    summary: 'Write a file, atomically; resumable by upload id and offset.',
    query: z.object({
      path,
      upload: z.string().max(64),
      offset: count,
      size: count,
      mode: z
        .string()
        .regex(/^[0-7]{1,4}$/)
        .optional(),
      user: z.string().max(256).optional(),
      parents: flag,
    }),
    body: 'bytes',
    answer: 'frames',
    relayed: true,
  },
  {
    id: 'inspectUpload',
    method: 'GET',
    path: `${S}/uploads/:upload`,
    summary: 'How much of an upload has arrived.',
    answer: UploadStateSchema,
    relayed: true,
  },
  {
    id: 'cancelUpload',
    method: 'DELETE',
    path: `${S}/uploads/:upload`,
    summary: 'Throw an unfinished upload away.',
    answer: 'none',
    relayed: true,
  },
  {
    id: 'statFile',
    method: 'GET',
    path: `${S}/files/stat`,
    summary: 'Type, size, mode, owner of a path.',
    query: z.object({ path, nofollow: flag }),
    answer: FileStatSchema,
    relayed: true,
  },
  {
    id: 'listFiles',
    method: 'GET',
    path: `${S}/files/list`,
    summary: 'Entries of a folder.',
    query: z.object({ path, limit: count }),
    answer: FileListSchema,
    relayed: true,
  },
  {
    id: 'makeFolder',
    method: 'POST',
    path: `${S}/files/mkdir`,
    summary: 'Make a folder.',
    body: MkdirSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'moveFile',
    method: 'POST',
    path: `${S}/files/move`,
    summary: 'Rename a file or folder.',
    body: MoveSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'removeFile',
    method: 'POST',
    path: `${S}/files/remove`,
    summary: 'Remove a file or folder.',
    body: RemoveSchema,
    answer: 'none',
    relayed: true,
  },
  {
    id: 'readArchive',
    method: 'GET',
    path: `${S}/files/archive`,
    summary: 'A folder as tar.',
    query: z.object({ path }),
    answer: 'bytes',
    relayed: true,
  },
  {
    id: 'writeArchive',
    method: 'PUT',
    path: `${S}/files/archive`,
    summary: 'Unpack a tar into a folder.',
    query: z.object({ path, user: z.string().max(256).optional() }),
    body: 'bytes',
    answer: z.object({ entries: z.int() }),
    relayed: true,
  },

  {
    id: 'listImages',
    method: 'GET',
    path: '/v1/images',
    summary: 'Images in the store.',
    answer: z.object({
      images: z.array(ImageInfoSchema),
      skipped: z.array(z.object({ name: z.string(), reason: z.string() })),
    }),
  },
  {
    id: 'importImage',
    method: 'POST',
    path: '/v1/images/import',
    summary: 'Import an archive as it comes: a root file system, an OCI archive, what `docker save` writes.',
    query: z.object({
      name: reference.optional().describe('Default: the name in the archive.'),
      fallbackName: reference.optional().describe('For an archive that has no name in it, where `name` is absent.'),
      format: z.enum(['auto', 'oci-archive', 'docker-archive', 'rootfs']).optional(),
      ref: reference.optional().describe('Which image, where the archive holds several.'),
      platform,
    }),
    body: 'bytes',
    answer: 'events',
  },
  {
    id: 'exportImage',
    method: 'GET',
    path: '/v1/images/export',
    summary: 'An image as an archive.',
    query: z.object({
      ref: reference,
      format: z.enum(['oci-archive', 'docker-archive']).optional(),
      name: reference.optional(),
    }),
    answer: 'bytes',
  },
  {
    id: 'pullImage',
    method: 'POST',
    path: '/v1/images/pull',
    summary: 'Bring an image in from a registry or from an engine of this machine.',
    body: z.object({
      source: z.string().min(1).max(1024).describe('A registry reference, `docker-daemon:REF`, `podman:REF`.'),
      name: reference.optional().describe('Default: the reference as it was given.'),
      platform,
    }),
    answer: 'events',
  },
  {
    id: 'pushImage',
    method: 'POST',
    path: '/v1/images/push',
    summary: 'Send an image to a registry, an engine or into a container; only what is missing there.',
    body: z.object({
      ref: z
        .string()
        .min(1)
        .max(1024)
        .describe('An image of the store; for a container also `docker-daemon:REF`, `podman:REF`.'),
      target: z
        .string()
        .min(1)
        .max(1024)
        .describe('A registry reference, `docker-daemon:REF`, `podman:REF`, `container:NAME[:/DIR]`.'),
      importCommand: z
        .string()
        .min(1)
        .max(4096)
        .optional()
        .describe('Run in the container; `{file}` is the staged file.'),
    }),
    answer: 'events',
  },
  {
    id: 'buildImage',
    method: 'POST',
    path: '/v1/images/build',
    summary: 'Build an image from a context (a tar) with the builder of an engine of this machine.',
    query: z.object({
      name: reference,
      dockerfile: z.string().min(1).max(1024).optional(),
      target: z.string().min(1).max(256).optional(),
      noCache: flag,
      buildArg: z
        .union([z.string(), z.array(z.string())])
        .optional()
        .describe('`NAME=VALUE`.'),
    }),
    body: 'bytes',
    answer: 'events',
  },
  {
    id: 'pruneImages',
    method: 'POST',
    path: '/v1/images/prune',
    summary: 'Remove what no name and no sandbox needs.',
    answer: z.object({ images: z.int(), blobs: z.int(), layers: z.int(), partials: z.int(), bytes: z.number() }),
  },
  {
    id: 'bootstrapImage',
    method: 'POST',
    path: '/v1/images/bootstrap',
    summary: 'Make the image `base`.',
    body: z.object({ force: z.boolean().default(false) }),
    answer: 'events',
  },
  {
    id: 'removeImage',
    method: 'DELETE',
    path: '/v1/images',
    summary: 'Remove an image and what only it used.',
    query: z.object({ ref: reference }),
    answer: 'none',
  },
] as const satisfies readonly Route[]

export type RouteId = (typeof routes)[number]['id']

/** One line of an `events` answer. The last one is `done` or `error`. */
export type ImageEvent =
  | { event: 'progress'; message: string; done?: number; total?: number; unit?: 'bytes' | 'items' }
  /** A line of a builder's log, as it said it. */
  | { event: 'log'; line: string }
  /** `facts`: what was done besides: bytes moved, blobs that were there, the staged file. */
  | { event: 'done'; image: z.output<typeof ImageInfoSchema> | null; facts?: Record<string, unknown> }
  | { event: 'error'; error: Record<string, unknown> }
