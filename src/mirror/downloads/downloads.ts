// The table of downloads: one per key. Requests that come while a download runs join it. Begins the partials of the store.

import type { ByteRange } from '../../http/range.ts'
import type { BlobKey } from '../../store/digest.ts'
import type { PartialBlob, Store } from '../../store/store.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { ByteSource } from '../answer.ts'
import { Download } from './download.ts'
import type { RangeSource } from './range-source.ts'

export type AbandonedPull = 'auto' | 'finish' | 'stop'

export interface Joined {
  readonly source: ByteSource
  readonly download: Download
  /** Whether this reader started the download, started it with blocks that an earlier one left, or joined a running one. */
  readonly how: 'started' | 'resumed' | 'joined'
}

/** Less than this is worth finishing though no reader waits for it any more. */
const FINISH_BELOW_BYTES = 256_000_000

export interface DownloadsOptions {
  readonly store: Store
  /** Connections to the origin for one large file. */
  readonly connections: number
  readonly abandoned: AbandonedPull
  readonly observer: Observer
  readonly onStorageFailed: (error: unknown) => void
  /** Called when the store has no space for a file, which then passes through. */
  readonly onNoSpace: () => void
}

interface ReaderRequest {
  readonly range: ByteRange
  /** The reader takes the bytes for a complete file, verified to its last byte. */
  readonly whole: boolean
  readonly signal: AbortSignal
  /** Counts a start. A reader that joins a running download costs the origin nothing. Rejects when there were too many. */
  readonly countAgainstLimit?: (() => Promise<void>) | undefined
}

export class Downloads {
  readonly #options: DownloadsOptions
  readonly #downloads = new Map<BlobKey, Promise<Download | undefined>>()
  readonly #settling = new Map<BlobKey, Promise<void>>()

  constructor(options: DownloadsOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#downloads.size
  }

  /**
   * Joins the download of `key`, or starts one that takes the bytes from `source`. Undefined when the store has no
   * space or cannot take the bytes: the request then passes through. The caller must close the source. Rejects as
   * `countAgainstLimit` does.
   */
  async join(
    key: BlobKey,
    sizeBytes: number,
    reader: ReaderRequest,
    source: () => RangeSource,
  ): Promise<Joined | undefined> {
    for (;;) {
      const running = this.#downloads.get(key)
      if (running !== undefined) {
        const download = await running.catch(() => 'not-counted' as const)
        // The reader that was about to start it may not.
        if (download === 'not-counted') continue
        if (download === undefined) return undefined
        if (download.joinable) {
          const joined = await this.#join(download, reader, 'joined', download.hold())
          if (joined !== 'over') return joined
        }
      }
      // A download that is over still has its files open. The next one must not open them before that.
      const settling = this.#settling.get(key)
      if (settling !== undefined) {
        await settling
        continue
      }
      if (this.#downloads.get(key) !== running) continue
      // Counted while its place in the table is taken: no other reader can start it meanwhile, and a reader that joins is
      // not counted.
      const starting = Promise.resolve(reader.countAgainstLimit?.()).then(() =>
        this.#start(key, sizeBytes, source),
      )
      this.#downloads.set(key, starting)
      const download = await starting.catch((error: unknown) => {
        this.#downloads.delete(key)
        throw error
      })
      if (download === undefined) {
        this.#downloads.delete(key)
        return undefined
      }
      const how = download.presentBytes > 0 ? 'resumed' : 'started'
      const joined = await this.#join(download, reader, how, download.firstHold)
      if (joined !== 'over') return joined
    }
  }

  /** Resolves when no download of `key` runs any more: its partial has become the blob, is kept, or is gone. */
  async settled(key: BlobKey): Promise<void> {
    await this.#settling.get(key)
  }

  /** Ends all downloads and records what they have. Nothing may join any more. */
  async close(): Promise<void> {
    for (const starting of await Promise.allSettled(this.#downloads.values()))
      if (starting.status === 'fulfilled') starting.value?.stop()
    await Promise.all(this.#settling.values())
  }

  async #join(
    download: Download,
    reader: ReaderRequest,
    how: Joined['how'],
    // Held from before to after: a download without readers may settle while space is being made.
    release: () => void,
  ): Promise<Joined | 'over' | undefined> {
    const range = reader.whole ? { start: 0, end: download.sizeBytes } : reader.range
    try {
      if (!(await download.reserve(range))) {
        this.#options.onNoSpace()
        return undefined
      }
      // It may have failed while space was made.
      if (!download.joinable) return 'over'
      if (how === 'joined') this.#options.observer.flightJoined()
      const source = download.join(reader.range, { whole: reader.whole, signal: reader.signal })
      return { source, download, how }
    } finally {
      release()
    }
  }

  async #start(key: BlobKey, sizeBytes: number, source: () => RangeSource): Promise<Download | undefined> {
    const { store, observer, onStorageFailed } = this.#options
    let partial: PartialBlob
    try {
      partial = await store.beginPartial(key, sizeBytes)
    } catch (error) {
      onStorageFailed(error)
      return undefined
    }
    let settle = (): void => {}
    this.#settling.set(key, new Promise((resolve) => (settle = resolve)))
    observer.flightStarted()
    return new Download({
      partial,
      source: source(),
      connections: this.#options.connections,
      observer,
      goesOnAlone: (present, size) => this.#goesOnAlone(present, size),
      onStorageFailed,
      onEnded: () => {
        observer.flightEnded()
        this.#downloads.delete(key)
        this.#settling.delete(key)
        settle()
      },
    })
  }

  #goesOnAlone(presentBytes: number, sizeBytes: number): boolean {
    switch (this.#options.abandoned) {
      case 'finish':
        return true
      case 'stop':
        return false
      case 'auto':
        return presentBytes * 2 >= sizeBytes || sizeBytes - presentBytes <= FINISH_BELOW_BYTES
      default:
        return this.#options.abandoned satisfies never
    }
  }
}
