// What the process can do at this moment, as /readyz tells it. Knows no routes.

import type { Logger } from 'pino'
import type { Check, Readiness } from './server/ops-routes.ts'
import type { Observer } from './telemetry/observer.ts'

/** Writing is tried again this long after the store failed to take bytes. */
const STORE_REST_MS = 10_000
/** How long a file that did not fit is told of. */
const NO_ROOM_MS = 60_000

export interface Health {
  /** From now on not ready, so that load balancers look elsewhere. */
  readonly drain: () => void
  /** The store could not take bytes: what is asked meanwhile passes through. */
  readonly onStorageFailed: (error: unknown) => void
  /** A pull found no room, within the limits or on the disk: what does not fit passes through. */
  readonly onNoRoom: () => void
  /** The same observer, of which health hears what becomes of requests to the origin. */
  readonly observe: (observer: Observer) => Observer
  readonly readiness: () => Promise<Readiness>
  /** Returns at once: where the store has failed, tries behind it whether the store takes bytes again. */
  readonly recheck: () => void
}

export function createHealth(options: {
  /** Tries to write to the store. */
  readonly probe: () => Promise<void>
  readonly observer: Observer
  readonly logger: Logger
  readonly monotonic: () => number
  /** Why the origin could not be reached a moment ago, in a sentence for everybody. */
  readonly originTrouble: () => string | undefined
  /** Whether the origin is never asked, by configuration. */
  readonly offline: boolean
}): Health {
  const { probe, observer, logger, monotonic } = options
  const origin = watchOrigin(options)
  let draining = false
  let failure: { readonly at: number; readonly text: string } | undefined

  const onStorageFailed = (error: unknown): void => {
    const wasFailing = failure !== undefined && monotonic() - failure.at <= STORE_REST_MS
    failure = { at: monotonic(), text: error instanceof Error ? error.message.slice(0, 200) : 'unknown' }
    observer.storeDegraded(true)
    // What lacks descriptors or room fails a hundred times at once.
    if (!wasFailing)
      logger.warn({ err: error }, 'the store cannot take bytes: files are streamed without being stored')
  }

  let noRoomAt: number | undefined
  const onNoRoom = (): void => {
    noRoomAt = monotonic()
  }
  const lacksRoom = (): boolean => noRoomAt !== undefined && monotonic() - noRoomAt <= NO_ROOM_MS

  const tryStore = async (failed: typeof failure): Promise<void> => {
    try {
      await probe()
      // It may have failed again meanwhile.
      if (failure !== failed) return
      failure = undefined
      observer.storeDegraded(false)
    } catch (error) {
      onStorageFailed(error)
    }
  }
  let checking: Promise<void> | undefined
  const recheckStore = async (): Promise<void> => {
    if (failure === undefined || monotonic() - failure.at <= STORE_REST_MS) return
    // One at a time: a disk that hangs must not gather a thread for each who asks.
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
    onNoRoom,
    observe: origin.hearing,
    // It never rejects.
    recheck: () => void recheckStore(),
    async readiness() {
      await recheckStore()
      return {
        // A store that fails, or an origin that is away, leaves work that this mirror can do and another cannot.
        ready: !draining,
        checks: {
          serving: draining ? { ok: false, detail: 'draining' } : { ok: true },
          store: failure === undefined ? { ok: true } : { ok: false, detail: failure.text },
          room: lacksRoom()
            ? { ok: false, detail: 'a file did not fit into the store and was streamed without being stored' }
            : { ok: true },
          origin: origin.check(),
        },
      }
    },
  }
}

/** What is known of the origin, from its answers and the lack of them. */
function watchOrigin(options: {
  readonly originTrouble: () => string | undefined
  readonly offline: boolean
}): { readonly hearing: Health['observe']; readonly check: () => Check } {
  let last: 'never asked' | 'no answer yet' | 'answers' | 'away' = 'never asked'
  return {
    hearing: (other) => ({
      ...other,
      originRequest(kind, status, seconds) {
        // A CDN is another host. No answer may also be a client that left: what it means says `originUp`.
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
