/** What the tests of other packages need: small root file systems, and archives and layouts however wrong they are. */
export { type BigArchiveOptions, bigDockerArchive, writeBigDockerArchive } from './testing/big-docker-archive.ts'
export { makeBusyboxArchive, writeBusyboxRootfs } from './testing/busybox.ts'
export { FaultRegistry } from './testing/fault-registry.ts'
export { type TestImage, type TestLayer, writeLayout } from './testing/layout-builder.ts'
export { RegistryServer, type RegistryServerOptions } from './testing/registry-server.ts'
export { buildTar, type TestEntry } from './testing/tar-builder.ts'
