// The mirror's own Hub tokens, by the names that policies use. The settings say where a token comes from, and the policies
// say which callers may use it.

import type { Observer } from '../telemetry/observer.ts'

/** A token that follows its file, if it comes from a file. */
export interface HubToken {
  /** The token itself. Never throws. Checks the token's file at most once a second. */
  reveal(): string
  /** Sets the listener for faults of new content in the token's file. The last valid token stays in use meanwhile. */
  onRefused?(listener: (fault: string) => void): void
  /** When the token's file was last written, epoch ms; undefined for a token without a file. */
  writtenAt(): number | undefined
}

export type HubTokens = ReadonlyMap<string, HubToken>

/** A token older than this should be replaced. */
const OLD_MS = 90 * 24 * 3_600_000
/** The interval of the checks. Each scrape of the metrics causes one more. */
const CHECK_INTERVAL_MS = 3_600_000

/**
 * Checks all tokens that come from a file: now, every hour, and at each call of `check`. It reports their age, calls
 * `onOld` once for each old token, and calls `onRefused` once for each new content of a file that is not a token. `stop`
 * ends the checks.
 */
export function watchHubTokens(
  settings: { readonly hubTokens: HubTokens },
  options: {
    readonly now: () => number
    readonly observer: Pick<Observer, 'hubTokenAge'>
    readonly onOld: (name: string, days: number) => void
    readonly onRefused: (name: string, fault: string) => void
  },
): { check(): void; stop(): void } {
  /** By name of the token: the time of writing that was reported as old. */
  const reported = new Map<string, number>()
  const watched = new WeakSet<HubToken>()
  const check = (): void => {
    for (const [name, token] of settings.hubTokens) {
      // The settings may have other tokens than at the last check.
      if (!watched.has(token)) token.onRefused?.((fault) => options.onRefused(name, fault))
      watched.add(token)
      // Reads the file as a request does, so that a fault is reported before the next request.
      token.reveal()
      const writtenAt = token.writtenAt()
      if (writtenAt === undefined) continue
      const ageMs = Math.max(0, options.now() - writtenAt)
      options.observer.hubTokenAge(name, ageMs / 1000)
      if (ageMs < OLD_MS || reported.get(name) === writtenAt) continue
      reported.set(name, writtenAt)
      options.onOld(name, Math.floor(ageMs / 86_400_000))
    }
  }
  check()
  const timer = setInterval(check, CHECK_INTERVAL_MS).unref()
  return { check, stop: () => clearInterval(timer) }
}
