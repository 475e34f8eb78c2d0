// One download: fetches the blocks of one blob that readers want, wakes the readers, verifies, commits.
//
// 1. A download belongs to a key, not to a client, a URL or a token. The access of every client is checked before it joins.
// 2. Readers read the file, never each other's stream: a slow one delays no other, a late one starts anywhere.
// 3. A block is marked present only after its write has returned. The map is recorded after the data is synced.
// 4. The last bytes are withheld from readers of the whole file until its digest is right.
// 5. An origin that fails in the middle is asked again from the next byte before any reader notices.
// 6. Wrong bytes: nothing is kept, and the readers' connections are broken, never ended.
// 7. A disk that fails ends the storing, not the serving: readers go on straight from the origin.

import { MirrorError } from '../../errors.ts'
import type { ByteRange } from '../../http/range.ts'
import { SinkFailed } from '../../origin/threads/sink.ts'
import { hashUpTo, Verifier } from '../../store/digest.ts'
import type { BlockMap } from '../../store/partials/blocks.ts'
import type { GrowingDigest, PartialBlob, PartialWriter } from '../../store/store.ts'
import type { Observer } from '../../telemetry/observer.ts'
import { type ByteSource, StorageFailed } from '../answer.ts'
import type { RangeSource } from './range-source.ts'
import { connectionsFor, nextRun, type Run, type RunUnderWay, type Want } from './schedule.ts'
import { writeBehind } from './write-behind.ts'

interface Reader extends Want {
  position: number
  readonly whole: boolean
}

/** A run under way. */
class ActiveRun implements RunUnderWay {
  first: number
  readonly controller = new AbortController()
  readonly #map: BlockMap
  #end: number
  #writer: PartialWriter | undefined

  constructor({ first, end }: Run, map: BlockMap) {
    this.first = first
    this.#end = end
    this.#map = map
  }

  get end(): number {
    return this.#end
  }

  get endPosition(): number {
    return this.#map.rangeOf(this.#end - 1).end
  }

  /** Says that another thread may write the bytes. */
  set writer(writer: PartialWriter | undefined) {
    this.#writer = writer
  }

  shorten(end: number): void {
    if (end >= this.#end) return
    const position = this.#map.rangeOf(end - 1).end
    const reached = this.#writer?.limit(position) ?? position
    this.#end = Math.min(this.#end, this.#map.blockAt(reached - 1) + 1)
  }
}

export interface DownloadOptions {
  readonly partial: PartialBlob
  readonly source: RangeSource
  readonly connections: number
  readonly observer: Observer
  /** Whether the download goes on when its last reader has left. */
  readonly goesOnAlone: (presentBytes: number, sizeBytes: number) => boolean
  /** Called once, when the partial has ended: committed, kept or discarded. Readers may still read what they have. */
  readonly onEnded: () => void
  /** The store could not take bytes. */
  readonly onStorageFailed: (error: unknown) => void
}

/** The map is recorded after this many bytes or this much time. A crash costs at most that much again. */
const CHECKPOINT_BYTES = 64 * 1024 * 1024
const CHECKPOINT_MS = 5_000
/**
 * Withheld until the digest is right. Enough that a small file fails with a status instead of in its middle. So little that
 * a client behind a slow origin does not take the wait for a dead connection.
 */
const HELD_BYTES = 64 * 1024

export class Download {
  readonly #options: DownloadOptions
  readonly #partial: PartialBlob
  readonly #readers = new Set<Reader>()
  readonly #runs = new Set<ActiveRun>()
  readonly #connections: number
  #digest: GrowingDigest | undefined
  // All bytes before it have landed.
  #landedEnd = 0
  #fill = false
  #holds = 0
  /** Held by the creator of the download until its own reader has joined. */
  readonly firstHold = this.hold()
  #unrecordedBytes = 0
  #recordedAt = performance.now()
  #state: 'running' | 'failed' | 'ended' = 'running'
  #finishing = false
  #digestIsRight = false
  #digestIsWrong = false
  #committed = false
  #failure: Error | undefined
  #verified: Array<{ resolve: () => void; reject: (error: Error) => void }> = []

  constructor(options: DownloadOptions) {
    this.#options = options
    this.#partial = options.partial
    this.#connections = connectionsFor(options.partial.sizeBytes, options.connections)
  }

  get presentBytes(): number {
    return this.#partial.map.presentBytes
  }

  get sizeBytes(): number {
    return this.#partial.sizeBytes
  }

  /** Keeps the download from settling until the returned function is called. */
  hold(): () => void {
    this.#holds += 1
    return () => {
      this.#holds -= 1
      this.#leave()
    }
  }

  /** False when the download has failed or is over: later requests need a new one. */
  get joinable(): boolean {
    return this.#state === 'running'
  }

  /** Makes space for the missing blocks of `range`; false when there is none. */
  reserve(range: ByteRange): Promise<boolean> {
    return this.#partial.reserve(range)
  }

  /**
   * Adds a reader. `whole` readers take the file for complete: they get its last bytes only when the digest is right, and
   * make the download fetch all of it. `signal` is the reader's own and ends only its waiting. The caller must close the
   * source.
   */
  join(range: ByteRange, options: { whole: boolean; signal: AbortSignal }): ByteSource {
    const reader: Reader = { range, position: range.start, whole: options.whole }
    this.#readers.add(reader)
    this.#fill ||= options.whole
    this.#partial.retain()
    this.#pump()
    let open = true
    return {
      range,
      file: this.#partial,
      waitFor: async (position) => {
        reader.position = position
        return this.#ready(reader, position, options.signal)
      },
      read: (buffer, offset, length, position) => this.#partial.read(buffer, offset, length, position),
      close: async () => {
        if (!open) return
        open = false
        this.#readers.delete(reader)
        const served = this.#partial.availableEnd(reader.position) >= range.end
        await this.#partial.release()
        this.#leave({ served })
      },
    }
  }

  async #ready(reader: Reader, position: number, signal: AbortSignal): Promise<number> {
    const { sizeBytes } = this.#partial
    const held = reader.whole && !this.#digestIsRight ? Math.max(0, sizeBytes - HELD_BYTES) : sizeBytes
    if (position >= held) {
      await this.#whenVerified(signal)
      return reader.range.end
    }
    if (this.#partial.availableEnd(position) <= position) {
      this.#pump()
      await this.#partial.whenAvailable(position, signal)
    }
    return Math.min(this.#partial.availableEnd(position), reader.range.end, held)
  }

  async #whenVerified(signal: AbortSignal): Promise<void> {
    if (this.#digestIsRight) return
    if (this.#failure !== undefined) throw this.#failure
    signal.throwIfAborted()
    let abort = (): void => {}
    try {
      await new Promise<void>((resolve, reject) => {
        abort = () => reject(signal.reason as Error)
        signal.addEventListener('abort', abort, { once: true })
        this.#verified.push({ resolve, reject })
        this.#pump()
      })
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  /** A verifier that has hashed the first `position` bytes of the file, for a reader that must go on elsewhere. */
  async verifierAt(position: number): Promise<Verifier> {
    const verifier = new Verifier(this.#partial.key, this.#partial.sizeBytes)
    await hashUpTo(verifier, (...to) => this.#partial.read(...to), position)
    if (verifier.position < position)
      throw new StorageFailed(new Error('the partial is shorter than its map says'))
    return verifier
  }

  #pump(): void {
    if (this.#state !== 'running') return
    for (;;) {
      const run = nextRun({
        map: this.#partial.map,
        wants: [...this.#readers],
        fill: this.#fill,
        runs: [...this.#runs],
        // An origin that ignores ranges sends the skipped bytes all the same: then use as few ranges as possible.
        connections: this.#options.source.ignoresRanges ? 1 : this.#connections,
      })
      if (run === undefined) break
      const active = new ActiveRun(run, this.#partial.map)
      this.#runs.add(active)
      // Every failure ends in #fail, which rejects the readers.
      void this.#fetch(active)
    }
    if (this.#partial.map.complete) void this.#finish()
  }

  async #fetch(run: ActiveRun): Promise<void> {
    const { map } = this.#partial
    let goesOn = true
    try {
      const range = { start: this.#partial.resumeAt(run.first), end: run.endPosition }
      const written = (position: number, length: number): void => {
        this.#landed(length)
        run.first = Math.max(run.first, map.blockAt(position + length))
      }
      await writeBehind(this.#bytesOf(run, range), {
        start: range.start,
        // A reader in a hurry may have taken over the tail of this run.
        limit: () => run.endPosition,
        write: async (position, chunks, length) => {
          await this.#write(position, chunks)
          written(position, length)
        },
        written: (position, length) => {
          this.#partial.landed(position, length)
          written(position, length)
        },
      })
    } catch (error) {
      // Without another connection it goes on with those it has. The next of them to end looks for more.
      goesOn = !(isOutOfConnections(error) && this.#runs.size > 1)
      if (!run.controller.signal.aborted && goesOn) this.#fail(error)
    } finally {
      this.#runs.delete(run)
      if (this.#state === 'running' && goesOn) this.#pump()
      this.#settleIfIdle()
    }
  }

  /** The bytes of a run, or how many of them another thread has written. */
  async *#bytesOf(run: ActiveRun, range: ByteRange): AsyncGenerator<Buffer | number, void, undefined> {
    const { source } = this.#options
    const { signal } = run.controller
    // Clients without a byte yet should learn soon that there is no connection.
    const hasBegun = this.#runs.size > 1 || this.#partial.map.presentBytes > 0
    const writer = source.transfer === undefined ? undefined : this.#partial.writer(range)
    run.writer = writer
    if (source.transfer === undefined || writer === undefined) {
      yield* source.read(range, signal, { hasBegun })
      return
    }
    try {
      yield* source.transfer(range, signal, { hasBegun, sink: writer.sink })
    } catch (error) {
      throw error instanceof SinkFailed ? new StorageFailed(error.cause) : error
    }
  }

  async #write(position: number, chunks: readonly Buffer[]): Promise<void> {
    try {
      await this.#partial.write(position, chunks)
    } catch (error) {
      throw new StorageFailed(error)
    }
  }

  #landed(length: number): void {
    this.#hashLanded()
    this.#unrecordedBytes += length
    const isDue = performance.now() - this.#recordedAt >= CHECKPOINT_MS
    if (this.#unrecordedBytes < CHECKPOINT_BYTES && !isDue) return
    this.#unrecordedBytes = 0
    this.#recordedAt = performance.now()
    // In the background: readers must not wait for the disk to sync. A disk that cannot sync fails at the commit.
    void this.#partial.checkpoint().catch(() => undefined)
  }

  /** All blocks are there: hashes what is not hashed yet, releases the readers, then commits the blob. */
  async #finish(): Promise<void> {
    if (this.#finishing || this.#runs.size > 0) return
    this.#finishing = true
    this.#partial.retain()
    try {
      if (!(await this.#matches())) {
        this.#options.observer.integrityFailure('digest')
        this.#digestIsWrong = true
        throw new MirrorError('integrity_mismatch', { detail: { key: this.#partial.key } })
      }
      this.#digestIsRight = true
      for (const waiter of this.#verified.splice(0)) waiter.resolve()
      await this.#partial.commit()
      this.#committed = true
    } catch (error) {
      this.#fail(this.#digestIsRight ? new StorageFailed(error) : error)
    } finally {
      await this.#partial.release()
      this.#finishing = false
      this.#settleIfIdle()
    }
  }

  /** Keeps the hash close behind the bytes, so that the last reader does not wait for it. */
  #hashLanded(): void {
    if (!this.#fill) return
    this.#digest ??= this.#partial.digest()
    const end = this.#partial.map.presentEnd(this.#landedEnd)
    if (end === this.#landedEnd) return
    this.#landedEnd = end
    this.#digest.advance(end)
  }

  #matches(): Promise<boolean> {
    // A blob completed by ranges has not been hashed yet.
    this.#digest ??= this.#partial.digest()
    this.#digest.advance(this.#partial.sizeBytes)
    return this.#digest.matches.catch((error: unknown) => {
      throw new StorageFailed(error)
    })
  }

  #fail(reason: unknown): void {
    if (this.#state !== 'running') return
    const error = reason instanceof Error ? reason : new Error(String(reason))
    this.#state = 'failed'
    this.#failure = error
    for (const run of this.#runs) run.controller.abort(error)
    if (error instanceof StorageFailed) this.#options.onStorageFailed(error.cause)
    // Once the digest was right, readers have all they need; only the commit has failed.
    if (!this.#digestIsRight) this.#partial.fail(error)
    for (const waiter of this.#verified.splice(0)) waiter.reject(error)
  }

  /** Ends the download: readers are rejected at the first byte that is not there. What has landed is recorded. */
  stop(): void {
    this.#fail(new MirrorError('draining'))
    this.#settleIfIdle()
  }

  /**
   * Stops what no reader waits for any more, when the last one has left. `served` says that it left with all it had asked
   * for.
   */
  #leave({ served }: { readonly served: boolean } = { served: false }): void {
    if (this.#readers.size + this.#holds === 0 && this.#state === 'running') {
      const { map, sizeBytes } = this.#partial
      const alone = this.#fill && this.#options.goesOnAlone(map.presentBytes, sizeBytes)
      if (!alone) {
        this.#fill = false
        for (const run of this.#runs) {
          // Half a block cannot be recorded: it would be fetched again, and aborting costs the connection.
          if (served) run.shorten(run.first + 1)
          else run.controller.abort(new Error('all readers have left'))
        }
      }
    }
    this.#settleIfIdle()
  }

  #settleIfIdle(): void {
    if (this.#runs.size > 0 || this.#finishing || this.#state === 'ended') return
    const over = this.#state === 'failed' || this.#committed
    // Readers keep their own hold on the file. A download that is over must not delay the next one because of them.
    if (!over && (this.#readers.size + this.#holds > 0 || this.#fill || this.#partial.map.complete)) return
    this.#state = 'ended'
    this.#digest?.close()
    void this.#close()
  }

  async #close(): Promise<void> {
    const failure = this.#failure
    const mismatch = failure instanceof MirrorError && failure.code === 'integrity_mismatch'
    try {
      // What is left of a file that changed in the middle is of no use for an investigation.
      if (mismatch || failure instanceof StorageFailed)
        await this.#partial.discard(failure, { quarantine: this.#digestIsWrong })
      // The verified part of an unfinished file is kept for the next download.
      else await this.#partial.keep()
    } catch (error) {
      this.#options.onStorageFailed(error)
    } finally {
      // The descriptor must be closed whatever the disk has answered.
      await this.#partial.release().catch(this.#options.onStorageFailed)
      this.#options.onEnded()
    }
  }
}

/** The mirror has no connection to give. This says nothing about the file or the Hub. */
function isOutOfConnections(error: unknown): boolean {
  return error instanceof MirrorError && (error.code === 'overloaded' || error.code === 'client_limited')
}
