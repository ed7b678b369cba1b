import { describe, expect, it } from 'vitest'
import { familiarName, formatImagePlace, parseImagePlace, parseRegistryReference } from './image-place.ts'

const hex = 'a'.repeat(64)

describe('a registry reference', () => {
  it.each([
    ['alpine', 'docker.io', 'library/alpine', 'latest', undefined],
    ['alpine:3.20', 'docker.io', 'library/alpine', '3.20', undefined],
    ['owner/app', 'docker.io', 'owner/app', 'latest', undefined],
    ['docker.io/alpine', 'docker.io', 'library/alpine', 'latest', undefined],
    ['index.docker.io/library/alpine', 'docker.io', 'library/alpine', 'latest', undefined],
    ['ghcr.io/owner/deep/app:V1_2.3-x', 'ghcr.io', 'owner/deep/app', 'V1_2.3-x', undefined],
    ['localhost/app', 'localhost', 'app', 'latest', undefined],
    ['localhost:5000/app', 'localhost:5000', 'app', 'latest', undefined],
    ['[::1]:5000/app:2', '[::1]:5000', 'app', '2', undefined],
    ['127.0.0.1:5000/a__b/c--d:t', '127.0.0.1:5000', 'a__b/c--d', 't', undefined],
    [`app@sha256:${hex}`, 'docker.io', 'library/app', undefined, `sha256:${hex}`],
    [`reg:1/app:tag@sha256:${hex}`, 'reg:1', 'app', 'tag', `sha256:${hex}`],
  ])('%s', (text, host, repository, tag, digest) => {
    expect(parseRegistryReference(text)).toEqual({ host, repository, tag, digest })
    expect(parseRegistryReference(formatImagePlace(parseImagePlace(text)))).toEqual({ host, repository, tag, digest })
  })

  it.each([
    ...['', 'UPPER', 'a//b', '/a', 'a/', 'a:', 'a:-x', `a:${'t'.repeat(129)}`, 'a@sha256:12', `a@sha512:${hex}`, 'a b'],
    ...['../../etc', 'host:99/a/../b', 'host:abc/a', 'a..b', '-a', 'a?x=1', 'a#b', 'host:1/a%2f', `${'a'.repeat(300)}`],
  ])('refuses %j, typed', (text) => {
    expect(() => parseRegistryReference(text)).toThrow(expect.objectContaining({ reason: 'invalid_image_reference' }))
  })

  it('is shown as people type it', () => {
    for (const name of ['alpine:3', 'owner/app:1', 'ghcr.io/owner/app:1', 'localhost:5000/library/x:1']) {
      expect(familiarName(parseRegistryReference(name))).toBe(name)
    }
  })
})

describe('an image place', () => {
  it.each([
    ['docker://alpine', { kind: 'registry' }],
    ['docker-daemon:app:1', { kind: 'docker-daemon', reference: 'app:1' }],
    ['podman:localhost/app', { kind: 'podman', reference: 'localhost/app' }],
    ['docker-archive:a.tar', { kind: 'docker-archive', path: 'a.tar', reference: undefined }],
    ['docker-archive:/x/a.tar:app:1', { kind: 'docker-archive', path: '/x/a.tar', reference: 'app:1' }],
    ['oci:dir', { kind: 'oci', path: 'dir', reference: undefined }],
    ['oci:dir:my/app:1', { kind: 'oci', path: 'dir', reference: 'my/app:1' }],
    ['oci-archive:a.tar:', { kind: 'oci-archive', path: 'a.tar', reference: undefined }],
    ['container:kind-control-plane', { kind: 'container', name: 'kind-control-plane', folder: undefined }],
    ['container:k3d:/images', { kind: 'container', name: 'k3d', folder: '/images' }],
    ['-', { kind: 'stdio' }],
    ['./app', { kind: 'file', path: './app' }],
    ['/srv/app', { kind: 'file', path: '/srv/app' }],
    ['image.tar.gz', { kind: 'file', path: 'image.tar.gz' }],
    ['podman', { kind: 'registry' }],
  ])('%s', (text, place) => {
    expect(parseImagePlace(text)).toMatchObject(place)
  })

  it('is a file when a file of that name is there', () => {
    const exists = (path: string) => ['alpine', 'a:b.tar', 'dir:x'].includes(path)
    expect(parseImagePlace('alpine', { exists })).toEqual({ kind: 'file', path: 'alpine' })
    expect(parseImagePlace('oci-archive:a:b.tar', { exists })).toMatchObject({ path: 'a:b.tar', reference: undefined })
    expect(parseImagePlace('dir:x', { exists })).toEqual({ kind: 'file', path: 'dir:x' })
  })

  it.each([
    ['', 'invalid_image_place'],
    ['oci:', 'invalid_image_place'],
    ['docker-daemon:', 'invalid_image_place'],
    ['container:', 'invalid_image_place'],
    ['container:c:relative', 'invalid_image_place'],
    ['https://example.com/image.txt', 'invalid_image_place'],
    ['dir:/x', 'image_transport'],
    ['containers-storage:x', 'image_transport'],
    ['NoSuchThing', 'invalid_image_reference'],
  ])('refuses %j with %s', (text, reason) => {
    expect(() => parseImagePlace(text)).toThrow(expect.objectContaining({ reason }))
  })
})
