// Removes what is stored of restricted repos once no rule names them any more: after the start, and when the rules have changed.
// It is not used from the moment that the rule goes.

import type { Logger } from 'pino'
import type { RestrictedMetadata } from './mirror/metadata/restricted.ts'

export interface UnnamedRepos {
  /** Begins a round. Returns at once. */
  check(): void
  /** Ends the round under way; the next start goes on. Resolves when what is to be kept has been handed to the store. Never rejects. */
  stop(): Promise<void>
}

/** Begins the first round, unless the store cannot be written to, or nothing is to be removed. */
export function watchUnnamedRepos(
  restricted: Pick<RestrictedMetadata, 'removeUnnamed' | 'settled'>,
  {
    store,
    logger,
    isCommand,
  }: {
    readonly store: { readonly readOnly: boolean }
    readonly logger: Logger
    /** It may run with other rules than the mirror, so nothing is removed. */
    readonly isCommand: boolean
  },
): UnnamedRepos {
  const stopping = new AbortController()
  let rounds = Promise.resolve()
  const round = async (): Promise<void> => {
    try {
      const repos = await restricted.removeUnnamed(stopping.signal)
      if (repos > 0)
        logger.info({ repos }, 'facts of restricted repos that no rule names any more were removed')
    } catch (error) {
      logger.warn(
        { err: error },
        'facts of restricted repos that no rule names any more could not be removed; the next start tries again',
      )
    }
  }
  const check = (): void => {
    if (!isCommand && !store.readOnly && !stopping.signal.aborted) rounds = rounds.then(round)
  }
  check()
  return {
    check,
    stop() {
      stopping.abort()
      return rounds.then(() => restricted.settled())
    },
  }
}
