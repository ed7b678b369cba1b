import { unsupported } from './unsupported.ts'

/** Where an image comes from or goes to. */
export interface ImagePlace {
  /** A file, or `-`. */
  path: string
  format: 'auto' | 'oci-archive'
}

const LATER = ['docker-daemon', 'docker-archive', 'docker', 'podman', 'oci', 'container', 'containers-storage', 'dir']

/** Reads a place as `skopeo` writes it. @throws `unsupported/image_transport` for those that a later release brings. */
export function parsePlace(text: string): ImagePlace {
  const [transport = '', ...rest] = text.split(':')
  if (rest.length > 0 && transport === 'oci-archive') return { path: rest.join(':'), format: 'oci-archive' }
  if (rest.length > 0 && LATER.includes(transport)) {
    throw unsupported('image_transport', `The transport ${transport}:`, 'Use a file, or oci-archive:FILE.')
  }
  return { path: text, format: 'auto' }
}
