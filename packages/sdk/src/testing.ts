/** Real servers that stand in for a gateway, for tests of what speaks to one. */
export { FakeImages, type ImageCall, type ImageFault } from './testing/fake-images.ts'
