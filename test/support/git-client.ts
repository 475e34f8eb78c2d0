// The git program as a client of a mirror, without the settings of this machine. Tests of it are skipped where git is missing.

import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, onTestFinished } from 'vitest'
import { eventually } from './eventually.ts'

/** Whether git is installed. */
export const hasGit = spawnSync('git', ['--version']).status === 0
if (!hasGit) console.warn('SKIPPED tests of git: git is not installed')

/** `describe` where git is installed. */
export const describeGit = hasGit ? describe : describe.skip

export interface GitResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface GitClient {
  readonly home: string
  /** Runs git in `folder` of its home. */
  run(args: readonly string[], folder?: string): Promise<GitResult>
  /** The same, but throws with its words when it fails. Resolves with what it has printed. */
  ok(args: readonly string[], folder?: string): Promise<string>
}

/** A client with an empty home of its own, which goes with the running test. */
export async function gitClient(): Promise<GitClient> {
  const home = await mkdtemp(join(tmpdir(), 'hubmirror-git-'))
  onTestFinished(() => rm(home, { recursive: true, force: true }))
  const run: GitClient['run'] = (args, folder = '.') =>
    new Promise((resolve, reject) => {
      const child = spawn('git', args, {
        cwd: join(home, folder),
        env: {
          PATH: process.env['PATH'],
          HOME: home,
          LC_ALL: 'C',
          GIT_CONFIG_NOSYSTEM: '1',
          GIT_TERMINAL_PROMPT: '0',
          GIT_LFS_SKIP_SMUDGE: '1',
          GIT_AUTHOR_NAME: 'somebody',
          GIT_AUTHOR_EMAIL: 'somebody@example.org',
          GIT_COMMITTER_NAME: 'somebody',
          GIT_COMMITTER_EMAIL: 'somebody@example.org',
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let [stdout, stderr] = ['', '']
      child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text))
      child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
      child.once('error', reject)
      child.once('close', (status) => resolve({ status, stdout, stderr }))
    })
  return {
    home,
    run,
    async ok(args, folder) {
      const { status, stdout, stderr } = await run(args, folder)
      if (status !== 0) throw new Error(`git ${args.join(' ')} ended with ${status}: ${stdout}${stderr}`)
      return stdout.trim()
    },
  }
}

/** The names of the git repositories in a store. */
export async function storedGits(cacheDir: string): Promise<readonly string[]> {
  const folder = join(cacheDir, 'git')
  const fans = await readdir(folder).catch(() => [])
  const names = await Promise.all(fans.map((fan) => readdir(join(folder, fan)).catch(() => [])))
  const all = fans.flatMap((fan, index) => (names[index] ?? []).map((name) => join(folder, fan, name)))
  return all
}

/** Waits until as many git repositories are stored, and returns their folders. */
export function whenStored(cacheDir: string, count = 1): Promise<readonly string[]> {
  return eventually(
    () => storedGits(cacheDir),
    (found) => found.length === count,
  )
}

/** How many processes have `text` in their command line. Linux only; 0 elsewhere. */
export async function processesWith(text: string): Promise<number> {
  const ids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name))
  const lines = await Promise.all(ids.map((id) => readFile(`/proc/${id}/cmdline`, 'latin1').catch(() => '')))
  return lines.filter((line) => line.includes(text)).length
}
