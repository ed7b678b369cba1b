import { randomUUID } from 'node:crypto'
import { mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { SESSION_VERSIONS, type SupervisorConfig, type SupervisorInfo } from '@coppice/protocol/wire'
import { Egress } from './egress/egress.ts'
import { egressRoutes } from './egress/routes.ts'
import { execRoutes } from './exec/routes.ts'
import { ExecTable } from './exec/table.ts'
import { archiveRoutes } from './files/archive-routes.ts'
import { fileRoutes } from './files/routes.ts'
import { UploadTable } from './files/uploads.ts'
import { FifoStore } from './launch/fifo.ts'
import type { SupervisorPaths } from './paths.ts'
import { portRoutes } from './ports/routes.ts'
import { probeScopes } from './scope/probe.ts'
import { respondJson } from './session/responses.ts'
import { Router } from './session/router.ts'
import { Sessions } from './session/sessions.ts'
import type { Validators } from './validators.ts'
import { SUPERVISOR_VERSION } from './version.ts'

export interface SupervisorOptions {
  readonly config: SupervisorConfig
  readonly paths: SupervisorPaths
  readonly validators: Validators
  /** Called with one line for each event that somebody who reads the sandbox's log wants to know. */
  readonly log: (message: string) => void
}

/** A supervisor that serves. */
export interface Supervisor {
  /**
   * Ends everything in order: TERM to every exec, KILL after `graceMs`, ends told to whoever listens, session closed. What has
   * to survive is on disk when it resolves.
   */
  close(graceMs: number): Promise<void>
}

/** Milliseconds that open answers have to be read to their end when the supervisor ends. */
const GOODBYE_MS = 500

/** Starts a supervisor: ends what an earlier one has left behind, then dials the gateway and serves its sandbox. */
export async function startSupervisor(options: SupervisorOptions): Promise<Supervisor> {
  const { config, paths, validators, log } = options
  const { stateDir, tools } = paths
  mkdirSync(stateDir, { recursive: true, mode: 0o700 })
  const fifos = new FifoStore(join(stateDir, 'fifos'), tools.busybox)
  const scopes = probeScopes(paths.cgroupDir, fifos, tools)
  const egress = new Egress({ boundMs: config.boundMs, log })
  const listening = Promise.withResolvers<void>()
  const execs = new ExecTable({
    config,
    stateDir,
    tools,
    fifos,
    scopes,
    // What an exec's programs find must not depend on how fast they are.
    ready: listening.promise,
    variables: (id, layers) => egress.variables(id, layers),
  })
  await execs.recover()
  const uploads = new UploadTable(join(stateDir, 'uploads'))
  const bootId = randomUUID()
  const startedAt = Date.now()
  const info = async (): Promise<SupervisorInfo> => ({
    version: SUPERVISOR_VERSION,
    bootId,
    pid: process.pid,
    startedAt,
    residentBytes: process.memoryUsage.rss(),
    openFiles: readdirSync('/proc/self/fd').length,
    openStreams: sessions.openStreams,
    execs: execs.counts,
    journalMemoryBytes: execs.journalMemoryBytes,
    killScope: (await scopes).kind,
  })
  const router = new Router({
    'GET /info': async ({ stream }) => respondJson(stream, await info()),
    ...execRoutes(execs, validators),
    ...fileRoutes({ uploads, validators, defaultUser: config.defaults.user }),
    ...archiveRoutes({ tools, defaultUser: config.defaults.user }),
    ...egressRoutes(egress),
    ...portRoutes({ sandboxId: config.sandboxId, ownPorts: () => egress.ports }),
  })
  const hello = {
    coppice: 'session' as const,
    versions: [...SESSION_VERSIONS],
    sandboxId: config.sandboxId,
    token: config.token,
    bootId,
    supervisorVersion: SUPERVISOR_VERSION,
  }
  const sessions = new Sessions({ socketPath: paths.socket, hello, router, log })
  // Once the hello is under way: the gateway takes it meanwhile.
  setImmediate(() => listening.resolve(config.network ? egress.listen(config.network) : undefined))
  void execs.warmUp()
  return {
    close: async (graceMs) => {
      await execs.close(graceMs)
      await uploads.close()
      egress.close()
      await sessions.close(GOODBYE_MS)
    },
  }
}
