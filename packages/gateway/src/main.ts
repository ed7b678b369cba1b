import { hostname } from 'node:os'
import { isAbsolute } from 'node:path'
import { parseArgs } from 'node:util'
import { CoppiceError } from '@coppice/protocol'
import pino from 'pino'
import { type GatewayOptions, startGateway } from './gateway.ts'

/** Exit status when another gateway has this home: whoever started this one uses the other. */
const EXIT_ALREADY_RUNNING = 75

const logger = pino({ level: process.env.COPPICE_LOG_LEVEL ?? 'info', timestamp: pino.stdTimeFunctions.isoTime })

function readOptions(): Omit<GatewayOptions, 'logger' | 'onShutdown'> {
  const { values } = parseArgs({
    options: {
      home: { type: 'string' },
      port: { type: 'string' },
      listen: { type: 'string' },
      'tls-cert': { type: 'string' },
      'tls-key': { type: 'string' },
      'tls-name': { type: 'string', multiple: true },
    },
  })
  const { home, listen } = values
  if (!home || !isAbsolute(home))
    throw new CoppiceError('invalid_argument', 'bad_home', '--home must be an absolute path.')
  const options: Omit<GatewayOptions, 'logger' | 'onShutdown'> = { home }
  if (values.port !== undefined) options.port = Number(values.port)
  if (process.env.COPPICE_DRIVER) options.driver = process.env.COPPICE_DRIVER
  if (listen !== undefined) {
    const certFile = values['tls-cert']
    const keyFile = values['tls-key']
    if (!certFile || !keyFile) {
      throw new CoppiceError('invalid_argument', 'tls_required', 'A gateway serves other machines with TLS only.', {
        hint: `coppice gateway start --listen ${listen} --tls-cert cert.pem --tls-key key.pem`,
      })
    }
    const host = listen.replace(/:\d+$/, '')
    options.remote = { address: listen, certFile, keyFile, names: [host, hostname(), ...(values['tls-name'] ?? [])] }
  }
  return options
}

/** Why the gateway is to end. Asked before it has started, it starts and then ends: half a start is nobody's to clean up. */
const asked = Promise.withResolvers<string>()
process.on('SIGTERM', () => asked.resolve('SIGTERM'))
process.on('SIGINT', () => asked.resolve('SIGINT'))
// The terminal that started it may go; the gateway stays.
process.on('SIGHUP', () => {})

try {
  const gateway = await startGateway({
    ...readOptions(),
    logger,
    onShutdown: () => asked.resolve('asked by a client'),
  })
  // A bug that one call met must not end the work of all others. State on disk is whole at every instant, so going on is safe.
  const survive = (error: unknown) => logger.error({ err: error }, 'an error that nobody handled: please report it')
  process.on('uncaughtException', survive)
  process.on('unhandledRejection', survive)
  logger.info({ why: await asked.promise }, 'stopping; sandboxes go on')
  await gateway.close()
  process.exit(0)
} catch (error) {
  const failure = CoppiceError.from(error)
  logger.fatal({ err: failure.code === 'internal' ? error : undefined, ...failure.toBody() }, failure.message)
  process.exit(failure.reason === 'gateway_running' ? EXIT_ALREADY_RUNNING : 1)
}
