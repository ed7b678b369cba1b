import type { GrpcMethod } from './grpc-server.ts'
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

/** What a build asks of who started it: whether it is there, and who asks registries. */
export function sessionServices(findLogin: FindLogin | undefined): Record<string, GrpcMethod> {
  const health: GrpcMethod = () => writeField(1, SERVING)
  if (!findLogin) return { '/grpc.health.v1.Health/Check': health }
  return {
    '/grpc.health.v1.Health/Check': health,
    '/moby.filesync.v1.Auth/Credentials': async (message, signal) => {
      const login = await findLogin(hostOf(message), signal)
      return Buffer.concat([writeField(1, login?.username ?? ''), writeField(2, login?.secret ?? '')])
    },
  }
}

function hostOf(request: Buffer): string {
  for (const field of readFields(request)) if (field.number === 1) return textOf(field)
  return ''
}
