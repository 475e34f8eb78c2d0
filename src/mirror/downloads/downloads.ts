// The table of downloads: one per key. Requests that come while a download runs join it. Begins the partials of the store, also
// those of uploads that are stored while they pass: these give way to any download of the same bytes.

import type { ByteRange } from '../../http/range.ts'
import type { BlobKey } from '../../store/digest.ts'
import type { PartialBlob, Store } from '../../store/store.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { ByteSource } from '../answer.ts'
import { within } from '../turns.ts'
import { Download } from './download.ts'
import type { RangeSource } from './range-source.ts'
import { PendingBytes, Receiver } from './receiver.ts'
import { takeBytes } from './take-bytes.ts'

export type AbandonedPull = 'auto' | 'finish' | 'stop'

export interface Joined {
  readonly source: ByteSource
  readonly download: Download
  /** How many bytes of the blob were there when the reader joined. */
  readonly presentBefore: number
  /** Whether this reader started the download, started it with blocks that an earlier one left, or joined a running one. */
  readonly how: 'started' | 'resumed' | 'joined'
}

/** What uploads may hold in memory while it waits for the disk, all together. A disk that is further behind stores nothing. */
const PENDING_BYTES = 64 * 1024 * 1024
/** Uploads that are stored at once: each holds a file open. */
const MAX_RECEIVERS = 64
/**
 * A reader waits this long at most for bytes that come into the store without the origin: from an upload that has ended and is about
 * to be stored, or from a load. A medium that stalls, such as a pipe or a network drive, holds a load for as long as it likes.
 */
const FINISHING_MS = 3_000
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

/** The partial of a key has an owner until `over` resolves. */
interface Settling {
  readonly over: Promise<void>
  /** The owner is a load: it takes as long as the medium from which an operator brings the bytes. */
  readonly isLoad: boolean
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
  readonly #settling = new Map<BlobKey, Settling>()
  readonly #receivers = new Map<BlobKey, { receiver: Receiver | undefined; isCancelled: boolean }>()
  readonly #pending = new PendingBytes(PENDING_BYTES)
  #isClosed = false

  constructor(options: DownloadsOptions) {
    this.#options = options
  }

  get count(): number {
    return this.#downloads.size
  }

  /**
   * Joins the download of `key`, or starts one that takes the bytes from `source`. Undefined when the store has no
   * space or cannot take the bytes, and `loading` while a load stores them: the request then passes through. The caller must close
   * the source. Rejects as `countAgainstLimit` does.
   */
  async join(
    key: BlobKey,
    sizeBytes: number,
    reader: ReaderRequest,
    source: () => RangeSource,
  ): Promise<Joined | 'loading' | undefined> {
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
      this.#giveWay(key)
      // A download that is over still has its files open. The next one must not open them before that.
      const settling = this.#settling.get(key)
      if (settling?.isLoad === true) return 'loading'
      if (settling !== undefined) {
        await settling.over
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

  /**
   * Begins to store bytes that a client uploads, while they pass. The caller gives them to the receiver in order, and must end
   * it by `finish` or `stop`. Undefined while a download of them runs or was begun before, and when the store has no space
   * or cannot take them. Never rejects.
   */
  async receive(
    key: BlobKey,
    sizeBytes: number,
    mayKeep: () => Promise<boolean>,
  ): Promise<Receiver | undefined> {
    if (this.#isClosed || this.#receivers.size >= MAX_RECEIVERS) return undefined
    if (this.#downloads.has(key) || this.#settling.has(key)) return undefined
    const entry: { receiver: Receiver | undefined; isCancelled: boolean } = {
      receiver: undefined,
      isCancelled: false,
    }
    this.#receivers.set(key, entry)
    const settle = this.#occupy(key, { isLoad: false })
    const onEnded = (): void => {
      this.#receivers.delete(key)
      settle()
    }
    const partial = await this.#emptyPartial(key, sizeBytes)
    if (partial === undefined) {
      onEnded()
      return undefined
    }
    const receiver = new Receiver({ ...this.#options, partial, pending: this.#pending, mayKeep, onEnded })
    entry.receiver = receiver
    if (entry.isCancelled) receiver.stop()
    return receiver
  }

  /**
   * Stores the bytes of `key` as they come from `chunks`, which is read only as far as that is needed. While it does, no
   * download of the key runs, and one that runs before is waited for. An upload is not: its client may take any time. `stored`: it is a blob, now or before. `wrong`: the bytes
   * do not have this digest or size. `no-space`: the store has none. Rejects with the error of `chunks`, of the disk, and with the reason of `signal` while it waits:
   * when the command that brings the bytes leaves.
   */
  async take(
    key: BlobKey,
    sizeBytes: number,
    { chunks, signal }: { readonly chunks: AsyncIterable<Buffer>; readonly signal: AbortSignal },
    isStored: () => Promise<boolean>,
  ): Promise<'stored' | 'wrong' | 'no-space'> {
    for (;;) {
      if (this.#isClosed) throw new Error('the mirror is stopping')
      const running = this.#downloads.get(key)
      const started = running?.then(
        () => undefined,
        () => undefined,
      )
      if (started !== undefined) await within(Number.POSITIVE_INFINITY, started, signal)
      this.#giveWay(key)
      const settling = this.#settling.get(key)
      if (settling === undefined && !this.#downloads.has(key)) break
      if (settling !== undefined) await within(Number.POSITIVE_INFINITY, settling.over, signal)
    }
    const settle = this.#occupy(key, { isLoad: true })
    try {
      return (await isStored()) ? 'stored' : await takeBytes(this.#options.store, { key, sizeBytes, chunks })
    } finally {
      settle()
    }
  }

  /** Makes the caller the owner of the partial of `key`, until it calls what is returned. */
  #occupy(key: BlobKey, { isLoad }: { readonly isLoad: boolean }): () => void {
    let settle = (): void => {}
    this.#settling.set(key, { over: new Promise((resolve) => (settle = resolve)), isLoad })
    return () => {
      this.#settling.delete(key)
      settle()
    }
  }

  /** A partial without any bytes. */
  async #emptyPartial(key: BlobKey, sizeBytes: number): Promise<PartialBlob | undefined> {
    const { store, onStorageFailed } = this.#options
    try {
      const partial = await store.beginPartial(key, sizeBytes)
      if (partial.map.presentBytes === 0) return partial
      // What an earlier download has left stays for the next one.
      await partial.release()
    } catch (error) {
      onStorageFailed(error)
    }
    return undefined
  }

  /** An upload that is being stored ends, because a reader wants the same bytes. One that is becoming the blob is waited for. */
  #giveWay(key: BlobKey): void {
    const entry = this.#receivers.get(key)
    if (entry === undefined) return
    entry.isCancelled = true
    entry.receiver?.stop()
  }

  /**
   * Resolves when an upload of these bytes that has ended is stored or given up, or when that takes too long. Undefined if there
   * is none.
   */
  finishing(key: BlobKey): Promise<void> | undefined {
    if (this.#receivers.get(key)?.receiver?.isFinishing !== true) return undefined
    return within(FINISHING_MS, this.#settling.get(key)?.over ?? Promise.resolve())
  }

  /**
   * The same for a reader, who also waits for a load of these bytes: no longer than a few seconds. Rejects with the reason of
   * `signal` when the reader leaves.
   */
  arriving(key: BlobKey, signal: AbortSignal): Promise<void> | undefined {
    const settling = this.#settling.get(key)
    return settling?.isLoad === true ? within(FINISHING_MS, settling.over, signal) : this.finishing(key)
  }

  /**
   * Resolves when no download of `key` runs any more: its partial has become the blob, is kept, or is gone. Does not wait for a load,
   * which begins only after that.
   */
  async settled(key: BlobKey): Promise<void> {
    const settling = this.#settling.get(key)
    if (settling?.isLoad === false) await settling.over
  }

  /** Ends all downloads and records what they have. Nothing may join any more. */
  async close(): Promise<void> {
    this.#isClosed = true
    for (const key of this.#receivers.keys()) this.#giveWay(key)
    for (const starting of await Promise.allSettled(this.#downloads.values()))
      if (starting.status === 'fulfilled') starting.value?.stop()
    await Promise.all([...this.#settling.values()].map(({ over }) => over))
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
      const presentBefore = download.presentBytes
      const source = download.join(reader.range, { whole: reader.whole, signal: reader.signal })
      return { source, download, presentBefore, how }
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
    const settle = this.#occupy(key, { isLoad: false })
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
