export { BASE_IMAGE, type BootstrapOptions, bootstrap } from './bootstrap/bootstrap.ts'
export { type ImageListing, ImageStore, type ImageStoreOptions, type ImportOptions } from './image-store.ts'
export type { Collected, InUse } from './store/garbage.ts'
export type { ResolvedImage } from './store/layout.ts'
