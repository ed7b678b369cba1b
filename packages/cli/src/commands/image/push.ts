import { CoppiceError, type ImageFacts } from '@coppice/sdk'
import type { Command } from 'commander'
import type { Cli } from '../../cli.ts'
import { parsePushTarget } from '../../image-place.ts'
import { imageWork } from '../../image-work.ts'
import { usageError } from '../../parse.ts'

interface Flags {
  import?: string
  json?: boolean
}

export function register(image: Command, cli: Cli): void {
  image
    .command('push')
    .summary('send an image to a registry, to an engine or into a container')
    .description(
      'Send an image to a registry, to an engine or into a container: only what is missing there. Prints its digest, or the file that is left in a container.',
    )
    .argument('<ref>', 'as `coppice image ls` names it; for a container also docker-daemon:REF or podman:REF')
    .argument('<dst>', 'HOST/NAME[:TAG], docker-daemon:REF, podman:REF or container:NAME[:/DIR]')
    .option('--import <command>', 'run this in the container to take the archive in; {file} is its path')
    .option('--json', 'print what was done as one JSON value; progress is lines of JSON')
    .addHelpText(
      'after',
      `
Examples:
  coppice image push app:1 ghcr.io/owner/app:1
  coppice image push app:1 docker-daemon:app:1
  coppice image push app:1 container:kind-control-plane --import 'ctr -n k8s.io images import {file}'`,
    )
    .action((ref: string, target: string, flags: Flags) => cli.finish(flags, () => push(cli, ref, target, flags)))
}

async function push(cli: Cli, ref: string, target: string, flags: Flags): Promise<void> {
  checkPush(ref, target, flags.import)
  const facts = await imageWork(cli, ({ images }, work) =>
    images.push(ref, target, { ...work, importCommand: flags.import }),
  )
  if (flags.json) cli.printJson(facts)
  else tell(cli, facts)
}

/** The one fact that a next command can use, for programs; what the import in a container said, for people. */
function tell(cli: Cli, { digest, file, output }: ImageFacts): void {
  if (typeof output === 'string' && output.trim() !== '') cli.say(output.trimEnd())
  if (typeof file === 'string') cli.print(file)
  else if (typeof digest === 'string') cli.print(digest)
}

/** @throws `invalid_argument` for what no gateway would do */
export function checkPush(ref: string, target: string, importCommand: string | undefined): void {
  const { kind } = parsePushTarget(target, ref)
  if (kind !== 'registry' && kind !== 'docker-daemon' && kind !== 'podman' && kind !== 'container') {
    throw new CoppiceError('invalid_argument', 'invalid_image_target', `Images are not pushed to ${target}.`, {
      hint: `coppice image export ${ref} ${target}`,
    })
  }
  if (kind !== 'container' && /^(docker-daemon|podman):/.test(ref)) {
    const sentence = 'An image of an engine goes into a container from there, and elsewhere from the store alone.'
    throw new CoppiceError('unsupported', 'push_source', sentence, { hint: `coppice image pull ${ref}` })
  }
  if (importCommand === undefined) return
  if (kind !== 'container') throw usageError('--import goes with container:NAME alone.')
  if (!importCommand.includes('{file}')) {
    throw usageError('--import does not say where the file goes.', "--import 'ctr -n k8s.io images import {file}'")
  }
}
