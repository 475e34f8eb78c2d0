// Puts together what keeps public repos for clones while the Hub is away, and what reads the files in them.

import type { Logger } from 'pino'
import type { Config } from './config/keys.ts'
import { createGitFiles } from './git/files.ts'
import { createGit, type Git } from './git/git.ts'
import { GitFailed } from './git/program.ts'
import { ClonedFiles } from './mirror/cloned-files.ts'
import { GitClones, type GitClonesOptions } from './mirror/git-clones.ts'
import type { DiskStore } from './store/disk-store.ts'

type Shared =
  | 'client'
  | 'access'
  | 'metadata'
  | 'monotonic'
  | 'asksLicence'
  | 'invalidations'
  | 'via'
  | 'isStored'
  | 'implied'
  | 'documents'
  | 'observer'
  | 'git'
  | 'cloned'

interface Around {
  readonly store: DiskStore
  readonly logger: Logger
}

/** Git as it is installed here, and what reads the files in the repositories that are kept. `GitClones.close` closes it. */
export function openGit(
  config: Config,
  { store, logger }: Around,
): { readonly git: Git; readonly cloned: ClonedFiles } {
  const git = createGit()
  const cloned = new ClonedFiles({
    git,
    files: createGitFiles(),
    store: store.git,
    isOn: config.gitClones !== 'off',
    origin: config.origin.href,
    onTrouble: troubleOf(logger, 'the git repository of a repo could not be read'),
  })
  return { git, cloned }
}

/** Connects git, the store and the log. The caller closes the result before the store. */
export function joinGit(
  config: Config,
  { store, logger, ...shared }: Pick<GitClonesOptions, Shared | 'settings'> & Around,
): GitClones {
  return new GitClones({
    ...shared,
    store: store.git,
    origin: config.origin.href,
    proxies: config.proxies,
    offline: config.offline,
    isOn: config.gitClones !== 'off',
    keepsRead: config.gitClones === 'all',
    onNoGit: () =>
      logger.warn('git 2.32 or newer is not installed: repos cannot be cloned while the Hub is away'),
    onTrouble: troubleOf(logger, 'the git repository of a repo could not be kept'),
  })
}

function troubleOf(logger: Logger, message: string): (repo: string, error: unknown) => void {
  return (repo, error) => {
    const said = error instanceof GitFailed ? error.said : undefined
    logger.warn({ repo, err: error, said }, message)
  }
}
