import type { BuildSecrets } from '../builds/options.ts'
import { type GrpcMethod, grpcNotFound } from './grpc-server.ts'
import { readFields, textOf, writeField } from './protobuf.ts'

/** Who asks a registry, as Docker has it: a token that its token service takes stands in `secret`, and there is no name. */
export interface RegistryLogin {
  username: string
  secret: string
}

/** Who asks the registry of this host, `registry-1.docker.io` for Docker's own. Undefined: everybody. */
export type FindLogin = (host: string, signal: AbortSignal) => Promise<RegistryLogin | undefined>

/** `ServingStatus.SERVING` of the health protocol. */
const SERVING = 1

/** What a build asks of who started it: whether it is there, who asks registries, and the secrets of its steps. */
export function sessionServices(
  findLogin: FindLogin | undefined,
  secrets: BuildSecrets = new Map(),
): Record<string, GrpcMethod> {
  return {
    '/grpc.health.v1.Health/Check': () => writeField(1, SERVING),
    // Also where there are none: a step may do without.
    '/moby.buildkit.secrets.v1.Secrets/GetSecret': (message) => {
      const id = firstText(message)
      const secret = secrets.get(id)
      if (!secret) throw grpcNotFound(`no secret ${id.slice(0, 200)} was given`)
      return writeField(1, secret)
    },
    ...(findLogin && {
      '/moby.filesync.v1.Auth/Credentials': async (message, signal) => {
        const login = await findLogin(firstText(message), signal)
        return Buffer.concat([writeField(1, login?.username ?? ''), writeField(2, login?.secret ?? '')])
      },
    }),
  }
}

/** The host of `CredentialsRequest`, the id of `GetSecretRequest`. */
function firstText(request: Buffer): string {
  for (const field of readFields(request)) if (field.number === 1) return textOf(field)
  return ''
}
