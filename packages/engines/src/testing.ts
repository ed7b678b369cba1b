/** For tests that need a real engine: one of their own, that can be stopped, frozen and killed without harm to anybody. */
export { PrivateDocker } from './testing/private-docker.ts'
export type { CommandOutput, PrivateEngine } from './testing/private-engine.ts'
export { PrivatePodman } from './testing/private-podman.ts'
