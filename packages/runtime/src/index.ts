export { RUNTIME_ARCHITECTURES, type RuntimeArch } from './inputs.ts'
export { type StagedRuntime, type StageOptions, stageRuntime } from './stage.ts'
export { VALIDATORS_MODULE, validatorsPlugin, validatorsSource } from './validators-plugin.ts'
