// The Hub tokens of the mirror's own, by the names that policies use. Where they come from is the settings' affair;
// who may have one is the policy's.

import type { Observer } from '../telemetry/observer.ts'

/** A token that may come from a file, and then follows it. */
export interface HubToken {
  /** Never throws; looks at the token's file at most once a second. */
  reveal(): string
  /** Takes who hears why a new text of the token's file is not used. The last good token stays meanwhile. */
  onRefused?(listener: (fault: string) => void): void
  /** When its file was last written, epoch ms; undefined where it comes from none. */
  writtenAt(): number | undefined
}

export type HubTokens = ReadonlyMap<string, HubToken>

/** Older than this a token is to be replaced. */
const OLD_MS = 90 * 24 * 3_600_000
/** How often is looked, beside each reading of the metrics. */
const LOOK_MS = 3_600_000

/**
 * Reports the age of each token that comes from a file, now, whenever `look` is called and every hour, tells once of each
 * that is old, and of each file that was written anew with what is no token. `stop` ends it.
 */
export function watchHubTokens(
  settings: { readonly hubTokens: HubTokens },
  options: {
    readonly now: () => number
    readonly observer: Pick<Observer, 'hubTokenAge'>
    readonly onOld: (name: string, days: number) => void
    readonly onRefused: (name: string, fault: string) => void
  },
): { look(): void; stop(): void } {
  const told = new Map<string, number>()
  const heard = new WeakSet<HubToken>()
  const look = (): void => {
    for (const [name, token] of settings.hubTokens) {
      // The settings may hold others than at the last look.
      if (!heard.has(token)) token.onRefused?.((fault) => options.onRefused(name, fault))
      heard.add(token)
      // Read as for a request: that it is refused need not wait for one.
      token.reveal()
      const writtenAt = token.writtenAt()
      if (writtenAt === undefined) continue
      const ageMs = Math.max(0, options.now() - writtenAt)
      options.observer.hubTokenAge(name, ageMs / 1000)
      if (ageMs < OLD_MS || told.get(name) === writtenAt) continue
      told.set(name, writtenAt)
      options.onOld(name, Math.floor(ageMs / 86_400_000))
    }
  }
  look()
  const timer = setInterval(look, LOOK_MS).unref()
  return { look, stop: () => clearInterval(timer) }
}
