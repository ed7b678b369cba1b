import { existsSync, type Stats, statSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { checkImageName } from '@coppice/protocol/wire'
import { CoppiceError } from '@coppice/sdk'
import type { Command } from 'commander'
import { parseBuildSecret, readBuildSecrets, type SecretSource } from '../../build-secrets.ts'
import type { Cli } from '../../cli.ts'
import { imageWork } from '../../image-work.ts'
import { parsePair, usageError } from '../../parse.ts'

/** The build itself failed, as a compiler would say it. */
const EXIT_BUILD_FAILED = 1

/** A Dockerfile on standard input is at most this large, bytes. */
const MAX_DOCKERFILE_BYTES = 1024 * 1024

interface Flags {
  file?: string
  name?: string
  target?: string
  buildArg?: Record<string, string>
  secret?: Record<string, SecretSource>
  cache: boolean
  json?: boolean
}

export function register(image: Command, cli: Cli): void {
  image
    .command('build')
    .summary('build an image from a folder with a Dockerfile')
    .description(
      'Build an image from a folder with a Dockerfile, by the builder of an engine of this machine. Prints its name. ' +
        'Without --name it is called by its content, and one that is there is not built again.',
    )
    .argument('<dir>', 'the build context; .dockerignore is honoured')
    .option(
      '-f, --file <path>',
      'the Dockerfile, in the folder or elsewhere; - is standard input (default: Dockerfile)',
    )
    .option('-t, --name <name>', 'what to call it (default: build/ and a hash of its content)')
    .option('--target <stage>', 'the stage to build (default: the last)')
    .option(
      '--build-arg <name[=value]>',
      'a variable of the build; NAME alone: as it is here, if it is (repeatable)',
      parseBuildArg,
    )
    .option(
      '--secret <spec>',
      'a secret for RUN --mount=type=secret: id=ID,src=FILE or id=ID,env=NAME (repeatable)',
      parseBuildSecret,
    )
    .option('--no-cache', 'build all of it anew')
    .option('--json', 'print the image as one JSON value; progress and log are lines of JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  coppice image build . -t app\n  coppice create --from $(coppice image build ./app)',
    )
    .action((folder: string, flags: Flags) => cli.finish(flags, () => build(cli, folder, flags)))
}

async function build(cli: Cli, folder: string, flags: Flags): Promise<number> {
  const { name, target, buildArg: buildArgs, cache } = flags
  // Before a gateway is started for it.
  checkArguments(folder, flags)
  const secrets = readBuildSecrets(flags.secret)
  const source = await dockerfileSource(folder, flags.file)
  try {
    const image = await imageWork(cli, ({ images }, work) =>
      images.build(folder, { ...work, ...source, name, target, buildArgs, secrets, noCache: !cache }),
    )
    if (flags.json) cli.printJson(image)
    else cli.print(image.name)
    return 0
  } catch (error) {
    if (CoppiceError.from(error).reason !== 'build_failed') throw error
    cli.fail(error)
    return EXIT_BUILD_FAILED
  }
}

function checkArguments(folder: string, { name }: Flags): void {
  if (name === '') throw usageError('--name needs a name.', 'Leave it out: the image is called by its content then.')
  if (name !== undefined) checkImageName(name)
  const found = look(folder)
  if (!found) throw new CoppiceError('not_found', 'local_file_not_found', `There is no folder ${folder} here.`)
  if (found.isDirectory()) return
  throw usageError(
    `${folder} is a file; what is built is a folder.`,
    `coppice image build --file ${folder} ${dirname(folder)}`,
  )
}

function look(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new CoppiceError('permission_denied', 'local_file_denied', `${path} cannot be looked at: ${code}.`, {
      facts: { path, errno: code },
    })
  }
}

/** In the folder when it is there, else from where this program was started, as shells complete it. */
async function dockerfileSource(
  folder: string,
  file: string | undefined,
): Promise<{ dockerfile?: string; dockerfileText?: string }> {
  if (file === undefined) return {}
  if (file !== '-') {
    return { dockerfile: existsSync(resolve(folder, file)) || !existsSync(file) ? file : resolve(file) }
  }
  if (process.stdin.isTTY) throw usageError('A Dockerfile is not read from a terminal.', 'Name a file.')
  return { dockerfileText: await readDockerfile(process.stdin) }
}

/** @throws `invalid_argument/dockerfile_too_large` */
async function readDockerfile(source: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of source) {
    chunks.push(chunk)
    bytes += chunk.length
    if (bytes <= MAX_DOCKERFILE_BYTES) continue
    throw new CoppiceError(
      'invalid_argument',
      'dockerfile_too_large',
      `Standard input is no Dockerfile: it has more than ${MAX_DOCKERFILE_BYTES} bytes.`,
    )
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** `NAME=VALUE`, or `NAME` alone for this process's own value, and for none where it has none, as `docker build` has it. */
function parseBuildArg(text: string, sofar: Record<string, string> = {}): Record<string, string> {
  if (text.includes('=') || text === '') return parsePair(text, sofar)
  const own = process.env[text]
  return own === undefined ? sofar : { ...sofar, [text]: own }
}
