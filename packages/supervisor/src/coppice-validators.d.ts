/** Made at build time from the schemas of the protocol (see packages/runtime). Each fills in defaults in place. */
declare module 'coppice:validators' {
  interface CompiledValidator {
    (value: unknown): boolean
    errors?: readonly { instancePath: string; message?: string }[] | null
  }

  export const execSpec: CompiledValidator
  export const signal: CompiledValidator
  export const resize: CompiledValidator
  export const mkdir: CompiledValidator
  export const move: CompiledValidator
  export const remove: CompiledValidator
  export const supervisorConfig: CompiledValidator
}
