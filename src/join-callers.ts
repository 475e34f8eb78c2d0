// Puts together what identifies callers and chooses the credential for the Hub.

import type { Logger } from 'pino'
import { type Callers, createCallers } from './callers/caller.ts'
import { watchHubTokens } from './callers/hub-tokens.ts'
import { mirrorTokensPath, TokenFile } from './callers/token-file.ts'
import type { Config } from './config/keys.ts'
import type { LiveSettings } from './config/live.ts'
import type { Observer } from './telemetry/observer.ts'

/** Connects the list of issued tokens, the mirror's own Hub tokens, the log and the metrics. The caller stops `ages`. */
export function joinCallers(
  config: Config,
  parts: {
    readonly settings: LiveSettings
    readonly logger: Logger
    readonly observer: Observer
    readonly now: () => number
    readonly monotonic: () => number
  },
): {
  readonly callers: Callers
  readonly ages: ReturnType<typeof watchHubTokens>
  readonly readTokens: () => Promise<void>
} {
  const { settings, logger, observer, now, monotonic } = parts
  const path = mirrorTokensPath(config)
  const tokenFile = new TokenFile({
    path,
    monotonic,
    onTrouble: (reason) =>
      logger.error(
        { path, reason },
        'the list of mirror tokens cannot be read; the last valid one stays in use',
      ),
  })
  const callers = createCallers({ issued: tokenFile, settings, now })
  const ages = watchHubTokens(settings, {
    now,
    observer,
    onOld: (name, days) => logger.warn({ hubToken: name, days }, 'a Hub token is old; replace it'),
    onRefused: (name, reason) =>
      logger.error(
        { hubToken: name, reason },
        'the new content of a Hub token file is invalid; the last valid token stays in use',
      ),
  })
  return { callers, ages, readTokens: () => tokenFile.refresh(true) }
}
