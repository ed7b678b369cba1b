export { type Front, frontOptions, serve } from './front.ts'
export { Inbound, type InboundOptions } from './inbound.ts'
export type { PreviewTarget } from './preview.ts'
