// Puts together what keeps public repos for clones while the Hub is away.

import type { Logger } from 'pino'
import type { Config } from './config/keys.ts'
import { createGit } from './git/git.ts'
import { GitFailed } from './git/program.ts'
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
  | 'observer'

/** Connects git, the store and the log. The caller closes the result before the store. */
export function joinGit(
  config: Config,
  {
    store,
    logger,
    ...shared
  }: Pick<GitClonesOptions, Shared | 'settings'> & { readonly store: DiskStore; readonly logger: Logger },
): GitClones {
  return new GitClones({
    ...shared,
    git: createGit(),
    store: store.git,
    origin: config.origin.href,
    proxies: config.proxies,
    offline: config.offline,
    isOn: config.gitClones === 'auto',
    onNoGit: () =>
      logger.warn('git 2.32 or newer is not installed: repos cannot be cloned while the Hub is away'),
    onTrouble(repo, error) {
      const said = error instanceof GitFailed ? error.said : undefined
      logger.warn({ repo, err: error, said }, 'the git repository of a repo could not be kept')
    },
  })
}
