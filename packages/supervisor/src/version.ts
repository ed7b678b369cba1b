/** Told in the session's first line and by `GET /info`. */
export const SUPERVISOR_VERSION = '0.1.0'
