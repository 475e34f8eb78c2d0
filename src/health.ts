// The state of the process that /readyz reports: draining, the store, free space, and the origin. It knows no routes.

import type { Logger } from 'pino'
import type { Check, Readiness } from './server/ops-routes.ts'
import type { Observer } from './telemetry/observer.ts'

/** After the store has failed to take bytes, writing is tried again after this time. */
const STORE_RETRY_MS = 10_000
/** How long /readyz reports a file that did not fit into the store. */
const NO_SPACE_MS = 60_000

export interface Health {
  /** Makes the mirror not ready for good, so that load balancers send requests elsewhere. */
  readonly drain: () => void
  /** Records that the store could not take bytes. Files are streamed without being stored meanwhile. */
  readonly onStorageFailed: (error: unknown) => void
  /** Records that a file did not fit into the store's limit or on the disk, and was streamed without being stored. */
  readonly onNoSpace: () => void
  /** Wraps an observer, so that health also learns the results of requests to the origin. */
  readonly observe: (observer: Observer) => Observer
  /** The answer of /readyz. If the store has failed, first checks whether it works again. Never rejects. */
  readonly readiness: () => Promise<Readiness>
  /** If the store has failed, starts a check whether it works again. Returns at once. */
  readonly recheck: () => void
}

export function createHealth(options: {
  /** Tries to write to the store. Rejects if this fails. */
  readonly probe: () => Promise<void>
  readonly observer: Observer
  readonly logger: Logger
  readonly monotonic: () => number
  /** Why the origin could not be reached a moment ago, in a sentence for all clients; undefined if it could. */
  readonly originTrouble: () => string | undefined
  /** Whether the mirror never contacts the origin, by configuration. */
  readonly offline: boolean
  /** Whether the certificate of the mirror's own TLS is valid; absent if it has none. */
  readonly certificate?: (() => Check) | undefined
  /** Whether this process only runs a command, which reports itself what could not be stored. */
  readonly isCommand?: boolean
  /** Whether all that pins want is stored; absent without a file of pins. */
  readonly pins?: (() => Check) | undefined
}): Health {
  const { probe, observer, logger, monotonic, certificate, pins } = options
  const origin = watchOrigin(options)
  let draining = false
  let failure: { readonly at: number; readonly text: string } | undefined

  const onStorageFailed = (error: unknown): void => {
    const wasFailing = failure !== undefined && monotonic() - failure.at <= STORE_RETRY_MS
    failure = { at: monotonic(), text: error instanceof Error ? error.message.slice(0, 200) : 'unknown' }
    observer.storeDegraded(true)
    // Without free descriptors or disk space, many writes fail at the same time: one line is enough.
    if (!wasFailing)
      logger[options.isCommand === true ? 'debug' : 'warn'](
        { err: error },
        'the store cannot take bytes: files are streamed without being stored',
      )
  }

  let noSpaceAt: number | undefined
  const onNoSpace = (): void => {
    noSpaceAt = monotonic()
  }
  const lacksSpace = (): boolean => noSpaceAt !== undefined && monotonic() - noSpaceAt <= NO_SPACE_MS

  const tryStore = async (failed: typeof failure): Promise<void> => {
    try {
      await probe()
      // The store may have failed again in the meantime.
      if (failure !== failed) return
      failure = undefined
      observer.storeDegraded(false)
    } catch (error) {
      onStorageFailed(error)
    }
  }
  let checking: Promise<void> | undefined
  const recheckStore = async (): Promise<void> => {
    if (failure === undefined || monotonic() - failure.at <= STORE_RETRY_MS) return
    // One check at a time: on a disk that hangs, each check would block another thread.
    checking ??= tryStore(failure).finally(() => {
      checking = undefined
    })
    await checking
  }

  return {
    drain() {
      draining = true
    },
    onStorageFailed,
    onNoSpace,
    observe: origin.observe,
    // It never rejects.
    recheck: () => void recheckStore(),
    async readiness() {
      await recheckStore()
      return {
        // With a failed store or an unreachable origin, the mirror can still serve part of its content.
        ready: !draining,
        checks: {
          serving: draining ? { ok: false, detail: 'draining' } : { ok: true },
          store: failure === undefined ? { ok: true } : { ok: false, detail: failure.text },
          room: lacksSpace()
            ? { ok: false, detail: 'a file did not fit into the store and was streamed without being stored' }
            : { ok: true },
          origin: origin.check(),
          ...(certificate && { certificate: certificate() }),
          ...(pins && { pins: pins() }),
        },
      }
    },
  }
}

/** Tracks the state of the origin by the results of requests to it. */
function watchOrigin(options: {
  readonly originTrouble: () => string | undefined
  readonly offline: boolean
}): { readonly observe: Health['observe']; readonly check: () => Check } {
  let last: 'never asked' | 'no answer yet' | 'answers' | 'away' = 'never asked'
  return {
    observe: (other) => ({
      ...other,
      originRequest(kind, status, seconds) {
        // A CDN is another host. Without a response the client may simply have left; `originUp` reports real failures.
        if (kind !== 'cdn' && status > 0) last = 'answers'
        else if (kind !== 'cdn' && last === 'never asked') last = 'no answer yet'
        other.originRequest(kind, status, seconds)
      },
      originUp(up) {
        last = up ? 'answers' : 'away'
        other.originUp(up)
      },
    }),
    check() {
      const trouble = options.originTrouble()
      if (trouble !== undefined) return { ok: false, detail: trouble }
      if (last === 'away') return { ok: false, detail: 'unreachable at the last request' }
      if (last === 'answers') return { ok: true }
      if (last === 'no answer yet') return { ok: null, detail: 'asked; no answer yet' }
      return { ok: null, detail: options.offline ? 'never asked: this mirror is offline' : 'not asked yet' }
    },
  }
}
