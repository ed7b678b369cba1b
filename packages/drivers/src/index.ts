export type * from './driver.ts'
export { createEngineDriver, type EngineDriver, type EngineDriverOptions } from './engine/driver.ts'
export { createOciDriver, DEFAULT_UID_BASE, type OciDriverOptions } from './oci/driver.ts'
export { createProcessDriver, type ProcessDriverOptions } from './process/driver.ts'
