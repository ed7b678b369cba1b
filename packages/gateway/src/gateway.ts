import { writeFileSync } from 'node:fs'
import { rename, rm, rmdir } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { CoppiceError, type GatewayStatus, Progress } from '@coppice/protocol'
import { requireNoFolder } from '@coppice/protocol/home-file'
import { FileRegistry } from '@coppice/registry'
import type { FastifyBaseLogger, FastifyInstance } from 'fastify'
import { Checkpoints } from './checkpoints/checkpoints.ts'
import { CheckpointDirectory } from './checkpoints/directory.ts'
import { Origins } from './checkpoints/origins.ts'
import { CheckpointRecordSchema } from './checkpoints/record.ts'
import { Egress } from './egress/index.ts'
import { buildApp } from './http/app.ts'
import { checkpointHandlers } from './http/checkpoint-handlers.ts'
import { Guard } from './http/guard.ts'
import { imageHandlers } from './http/image-handlers.ts'
import { networkHandlers } from './http/network-handlers.ts'
import { relayTo } from './http/relayed.ts'
import { type RemoteListener, startRemoteListener } from './http/remote.ts'
import { sandboxHandlers } from './http/sandbox-handlers.ts'
import { Images } from './images/images.ts'
import { runtimeSource } from './images/runtime.ts'
import { Inbound } from './inbound/index.ts'
import { makeDrivers } from './sandboxes/available.ts'
import { Directory } from './sandboxes/directory.ts'
import { Launch } from './sandboxes/launch.ts'
import { Networks } from './sandboxes/networks.ts'
import { reconcile } from './sandboxes/reconcile.ts'
import { SandboxRecordSchema } from './sandboxes/record.ts'
import { Sandboxes } from './sandboxes/sandboxes.ts'
import { SessionHub } from './session/hub.ts'
import { readConfig } from './state/config.ts'
import { openHome, openRun } from './state/home.ts'
import { takeLock } from './state/lock.ts'
import { readOrMakeToken } from './state/token.ts'
import { VERSION } from './version.ts'

/** Milliseconds between two looks for end records, tombstones and drafts that are old enough to go. */
const FORGET_INTERVAL_MS = 3_600_000

/**
 * Milliseconds for which a removed entry is remembered. No id comes again, and this process is the only writer: only as long as
 * a writer that was killed may have left something. Each costs a start as much as an end record.
 */
const REMOVAL_MS = 3_600_000

export interface GatewayOptions {
  /** `COPPICE_HOME`, absolute. */
  home: string
  /** Port on loopback; 0 or absent: any free one. */
  port?: number
  /** Name of the driver to prefer, from `COPPICE_DRIVER`. */
  driver?: string
  /** An address to serve to other machines, with TLS. */
  remote?: { address: string; certFile: string; keyFile: string; names: string[] }
  logger: FastifyBaseLogger
  /** Called when a client asked the gateway to end. */
  onShutdown: () => void
}

/** A running gateway. */
export interface Gateway {
  url: string
  close(): Promise<void>
}

/**
 * Starts a gateway over one home: takes its lock, makes registry and reality agree, adopts the sandboxes that live, and only
 * then listens and says so in `gateway.json`.
 *
 * @throws `already_exists/gateway_running`, `invalid_argument/bad_config`, and what the operating system refuses
 */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { logger } = options
  const home = openHome(options.home)
  const lock = takeLock(home.lock)
  requireNoFolder(home.gatewayFile)
  const startedAt = Date.now()
  const config = readConfig(home.config)
  const token = readOrMakeToken(home.token)
  const registry = await FileRegistry.open(home.registry)
  const directory = await Directory.open(registry.kind('sandboxes', (value) => SandboxRecordSchema.parse(value)))
  const saved = await CheckpointDirectory.open(
    registry.kind('checkpoints', (value) => CheckpointRecordSchema.parse(value)),
  )
  for (const skipped of [...directory.skipped, ...saved.skipped])
    logger.warn({ ...skipped }, 'a registry file could not be read and was left as it is')

  let sandboxes: Sandboxes | undefined
  const drivers = makeDrivers(home, config, options.driver ?? config.driver)
  drivers.onNotice(({ name }, notice) => {
    logger.warn({ driver: name, ...notice }, 'what a driver depends on has changed')
    if (!notice.available) return
    void sandboxes?.finishLeftovers(name)
  })
  const ownPorts: number[] = []
  const egress = new Egress({
    dir: home.egress,
    config: config.egress,
    ownPorts: () => ownPorts,
    env: process.env,
    log: (message, facts) => logger.warn(facts, message),
  })
  const networks = new Networks({ directory, drivers, egress })
  openRun(home)
  const hub = new SessionHub({
    runDir: home.run,
    leaseMs: config.session.leaseMs,
    onLink: (id, link) => networks.linked(id, link),
    onReleased: (id) => egress.release(id),
    onLost: (id) => {
      sandboxes
        ?.sessionLost(id)
        .catch((error: unknown) => logger.warn({ err: error, sandboxId: id }, 'a driver could not be asked'))
    },
  })
  const inUse = (digest: string) => {
    if (saved.holds(digest) || directory.existing().some((record) => record.imageDigest === digest)) return true
    return saved.mayHold || directory.mayHold ? 'unknown' : false
  }
  const { mirrors, insecure } = config.registries
  const registries = { mirrors, insecureRegistries: insecure }
  const images = await Images.open(home, inUse, registries, (message) => logger.warn(message))
  const sources = { images, runtime: runtimeSource(home.runtime) }
  const launch = new Launch({ sources, hub, config, homeHash: home.hash, networks })
  await reconcile({ directory, drivers, hub, log: (message, facts) => logger.info(facts, message) })
  const origins = new Origins(images, saved)
  sandboxes = new Sandboxes({ config, directory, drivers, hub, origins, launch, filesDir: home.drivers })
  const running = sandboxes
  const checkpoints = new Checkpoints({
    directory: saved,
    sandboxes,
    drivers,
    images,
    log: (message, facts) => logger.info(facts, message),
  })
  await checkpoints.reconcile()

  const forget = () => {
    void running.finishLeftovers()
    registry
      .sweep(Date.now(), REMOVAL_MS)
      .catch((error: unknown) => logger.warn({ err: error }, 'the registry could not be swept'))
    const ends = { before: Date.now() - config.endRecordRetentionMs, most: config.endRecordLimit }
    directory
      .forgetEnds(ends, (id) => egress.forget(id))
      .catch((error: unknown) => logger.warn({ err: error }, 'old end records were not removed'))
  }
  forget()
  const forgetting = setInterval(forget, FORGET_INTERVAL_MS)

  const names = new Set(['127.0.0.1', 'localhost', '[::1]', ...(options.remote?.names ?? [])])
  let url = ''
  const status = async (): Promise<GatewayStatus> => {
    const existing = directory.existing()
    return {
      pid: process.pid,
      url,
      version: VERSION,
      home: home.dir,
      startedAt,
      residentBytes: process.memoryUsage.rss(),
      sandboxes: {
        total: existing.length,
        running: existing.filter((record) => record.state === 'running').length,
        connected: hub.connectedCount,
      },
      drivers: await drivers.status(),
    }
  }
  const guard = new Guard(token, names)
  const inbound = new Inbound({
    secret: token,
    guard,
    names,
    target: (idOrName) => directory.find(idOrName),
    link: (id, signal) => {
      const { boundMs } = running.target(id)
      return hub.link(id, boundMs, new Progress({ signal }))
    },
    apiPort: () => (app.server.address() as AddressInfo).port,
    log: (message, facts) => logger.error(facts, message),
  })
  const app = buildApp({
    version: VERSION,
    guard,
    logger,
    front: inbound,
    relay: relayTo(sandboxes),
    handlers: {
      health: () => ({ ok: true, version: VERSION }),
      status,
      shutdown: () => {
        setImmediate(options.onShutdown)
      },
      ...sandboxHandlers({ sandboxes, directory, drivers, config }),
      ...networkHandlers({ directory, networks, egress, inbound }),
      ...checkpointHandlers(checkpoints, saved),
      ...imageHandlers(images, (kept) => drivers.pruneImages(kept), saved),
    },
  })
  let remote: RemoteListener | undefined
  try {
    await app.listen({ host: '127.0.0.1', port: options.port ?? 0 })
    if (options.remote) remote = await startRemoteListener(app, inbound, options.remote)
  } catch (error) {
    throw error instanceof CoppiceError ? error : listenFailed(error)
  }
  ownPorts.push(...[(app.server.address() as AddressInfo).port, remote?.port ?? []].flat())
  url = `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
  const announced = { pid: process.pid, url, version: VERSION, home: home.dir, startedAt, remote: remote?.url }
  // On a full disk too: it is by a gateway that sandboxes are removed.
  await registry.lend(() => announce(home.gatewayFile, announced))
  logger.info({ url, remote: remote?.url, home: home.dir }, 'listening')

  return {
    url,
    close: async () => {
      clearInterval(forgetting)
      await rm(home.gatewayFile, { force: true })
      remote?.close()
      inbound.close()
      await closeApp(app)
      await checkpoints.close()
      await egress.close()
      hub.close()
      await drivers.close()
      // It stays while there are sandboxes: they dial the next gateway there.
      await rmdir(home.run).catch(() => {})
      lock.release()
    },
  }
}

/** Whole or not at all: clients read this file while it is written. */
async function announce(path: string, value: Record<string, unknown>): Promise<void> {
  const draft = `${path}.${process.pid}.new`
  try {
    writeFileSync(draft, `${JSON.stringify(value, null, 2)}\n`, { mode: 0o600 })
    await rename(draft, path)
  } catch (error) {
    await rm(draft, { force: true })
    throw error
  }
}

async function closeApp(app: FastifyInstance): Promise<void> {
  app.server.closeAllConnections()
  await app.close()
}

function listenFailed(error: unknown): CoppiceError {
  return new CoppiceError('unavailable', 'listen_failed', `The gateway could not listen: ${(error as Error).message}`, {
    cause: error,
    hint: 'coppice gateway start --port 0',
  })
}
