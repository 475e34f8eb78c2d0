// Git and git-lfs as a user has them, without the settings of this machine.

import { expect } from 'vitest'
import { type Finished, run } from './run.ts'

export interface GitUser {
  readonly home: string
  readonly git: (args: readonly string[], folder?: string) => Promise<Finished>
  /** The same, but fails the test with its words when it fails. Resolves with what it has printed. */
  readonly ok: (args: readonly string[], folder?: string) => Promise<string>
}

/** The URL with `user`, a name and a password such as `alice:secret@`, or nothing. */
export function withUser(url: string, user: string): string {
  return url.replace('//', `//${user}`)
}

/** A user in this home, in which git-lfs is set up for all repos, as `git lfs install` does. `runs` stands in for `run`. */
export async function gitUser(home: string, runs: typeof run = run): Promise<GitUser> {
  const env = { GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0' }
  const git: GitUser['git'] = (args, folder = '.') =>
    runs('git', args, { home, cwd: `${home}/${folder}`, env })
  const ok: GitUser['ok'] = async (args, folder) => {
    const { status, stdout, stderr } = await git(args, folder)
    expect(status, `git ${args.join(' ')}: ${stdout}${stderr}`).toBe(0)
    return stdout.trim()
  }
  await ok(['lfs', 'install', '--skip-repo'])
  await ok(['config', '--global', 'user.name', 'somebody'])
  await ok(['config', '--global', 'user.email', 'somebody@example.org'])
  return { home, git, ok }
}
