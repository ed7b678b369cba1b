import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A repository, `hello.git`, with one commit of one file, `hello`, that says `hello from git`. */
export function makeGitRepository(site: string, work: string): void {
  const tree = join(work, 'git')
  mkdirSync(tree, { recursive: true })
  mkdirSync(site, { recursive: true })
  const who = ['-c', 'user.name=nobody', '-c', 'user.email=nobody@example.test']
  const env = { PATH: process.env.PATH, HOME: work, GIT_CONFIG_NOSYSTEM: '1' }
  const git = (...argv: string[]): void =>
    void execFileSync('git', [...who, ...argv], { cwd: tree, env, stdio: 'pipe' })
  git('init', '--quiet', '--initial-branch=main')
  writeFileSync(join(tree, 'hello'), 'hello from git\n')
  git('add', 'hello')
  git('commit', '--quiet', '--message=hello')
  git('clone', '--quiet', '--bare', tree, join(site, 'hello.git'))
}
