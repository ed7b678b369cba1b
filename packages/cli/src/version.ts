/** The version that the CLI says it has. */
export const VERSION = '0.1.0'
