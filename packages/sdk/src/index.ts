/**
 * The TypeScript SDK of Coppice.
 *
 * ```ts
 * await using sandbox = await Sandbox.create({ memoryMB: 2048 })
 * const { exitCode, stdout } = await sandbox.exec(['uname', '-a'])
 * ```
 */
export {
  type ChangeNetwork,
  type CheckpointInfo,
  CoppiceError,
  type EgressCounts,
  type EgressRecord,
  type EndRecord,
  type ErrorBody,
  type ErrorCode,
  type ExecInfo,
  type ExecResult,
  type FileList,
  type FileStat,
  formatImagePlace,
  type Gap,
  type GatewayStatus,
  type ImageInfo,
  type ImagePlace,
  isCheckpointId,
  type Limits,
  type ListeningPort,
  type NetworkPolicy,
  type NetworkState,
  type NetworkSuggestion,
  type Preview,
  type ProgressEvent,
  parseImagePlace,
  type ResizeSandbox,
  type ResourceUse,
  type SandboxInfo,
  type SandboxInspection,
  type SupervisorInfo,
} from '@coppice/protocol/wire'
export type { ByteSource } from './byte-source.ts'
export type { CheckpointOptions, Checkpoints } from './checkpoints.ts'
export type { ConnectionOptions } from './connection.ts'
export type { BuildOptions, BuiltImage } from './context/build.ts'
export type { BuildSecrets } from './context/secrets.ts'
export { Coppice } from './coppice.ts'
export { defaultHome, type GatewayRecord, runningGateway } from './discovery.ts'
export type { Download, ReadOptions } from './download.ts'
export type { Exec, ExecEnd } from './exec.ts'
export type { Command, SpawnOptions } from './exec-options.ts'
export type { ReadWholeOptions, SandboxFiles } from './files.ts'
export type { ForwardOptions, PortForward } from './forward.ts'
export type { MakeOptions, Taken } from './from/make.ts'
export type { ArchivePlace } from './from/recognise.ts'
export { type ArchiveOptions, type DockerfileOptions, Image, type ImageSource } from './image.ts'
export type { BroughtImage, BuildWork, ImageFacts, ImageWork } from './image-events.ts'
export type { Exported, ExportOptions, Images, ImportOptions, Pruned, PullOptions, PushOptions } from './images.ts'
export { type EgressLogOptions, type NetworkOption, networkPolicy, type SandboxNetwork } from './network.ts'
export type { ExecOutcome } from './outcome.ts'
export type { OutputChunk } from './output-queue.ts'
export type { RemotePath } from './paths.ts'
export type { ExecOptions } from './run-to-end.ts'
export { Sandbox, type SandboxOptions } from './sandbox.ts'
export type { CreateOptions, ListOptions, Sandboxes } from './sandboxes.ts'
export type { StdinWriter } from './stdin-writer.ts'
export type { WriteOptions } from './upload.ts'
