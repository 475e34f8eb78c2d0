// Bytes with a digest, apart from any route: stored ones are read from the disk, missing ones are downloaded once for all who
// want them, and what may not be stored passes straight from its origin to one client.
//
// To serve a new kind of bytes (LFS objects, xorbs), to fetch bytes ahead (import) or to fetch them from elsewhere (a
// remote tier), make a `Content` and call `open` or `fill`. Everything behind it is shared: storing, joining, verification,
// rate limits, and going on when the disk fails. What a new user must do by itself:
//
// 1. Decide first that the caller may read the bytes. This file decides nothing about rights; it only keeps bytes that are not
//    public off the disk.
// 2. Give the same key to the same bytes, wherever they come from. One key is downloaded once at a time.
// 3. Turn the request into a range before, and the `Opened` into status, headers and outcome after (content-answer.ts does both
//    for HTTP).

import { callerKey } from '../callers/caller-key.ts'
import { MirrorError } from '../errors.ts'
import type { ByteRange } from '../http/range.ts'
import type { OriginClient } from '../origin/client.ts'
import { bufferBody, SHORT_BODY_BYTES } from '../origin/connections/body-buffers.ts'
import { isRepoMoved } from '../origin/repo-moved.ts'
import { type BlobKey, hashUpTo, Verifier } from '../store/digest.ts'
import type { BlobHandle, Store } from '../store/store.ts'
import type { Lane, Observer } from '../telemetry/observer.ts'
import type { Body, ByteSource, Reusable, Storing, Unstored } from './answer.ts'
import type { Ctx } from './context.ts'
import type { Downloads, Joined } from './downloads/downloads.ts'
import type { RangeSource } from './downloads/range-source.ts'
import { skip, verified } from './verified.ts'

/** Some bytes, by their digest, for one caller. Cheap to make: it holds no bytes and opens nothing. */
export interface Content {
  /** Names the digest that the bytes must have. Bytes under an `opaque:` key have none and are never stored. */
  readonly key: BlobKey
  /** The exact size. A download that finds another size fails with integrity_mismatch. */
  readonly sizeBytes: number
  /**
   * Whether every caller may read the bytes. Only public bytes are stored, unless `cachePrivate` is on. A promise, since it is
   * often still being asked when the bytes are wanted. Must not reject.
   */
  readonly isPublic: Promise<boolean>
  /** False when a policy keeps the bytes off the disk. They are neither stored nor read from there. */
  readonly mayStore: boolean
  /**
   * Where the bytes come from when they are not stored. Called once per download, stream or rescue; it must not connect before
   * the first `read`. `lane` says what the connection counts as. `isShared` is true when callers other than this one may come
   * to depend on the download, and the bytes are public: where the caller's credential fails, the source goes on without one.
   */
  source(how: { readonly lane: Lane; readonly isShared: boolean }): RangeSource
  /**
   * Reads the bytes if they are on this machine beside the blobs. They are verified like those of the origin, and not stored a second
   * time.
   */
  readonly local?: ((range: ByteRange, signal: AbortSignal) => AsyncIterable<Buffer>) | undefined
}

/** Who reads: the part of a request's context that matters to bytes. Reading ahead has one without a request. */
export type Reader = Pick<Ctx, 'caller' | 'signal' | 'countAgainstLimit' | 'admission'>

export interface Wanted {
  /** Within the content, and not empty unless the content is. */
  readonly range: ByteRange
  /**
   * The client will take the range for a complete and correct file. Its last bytes are withheld until the digest of all bytes is
   * right, and the whole content is downloaded even if the range begins in its middle.
   */
  readonly whole: boolean
}

export interface Opened {
  /** Opened, and nothing of it taken. The sender must close it, also when it sends nothing. */
  readonly body: Body
  /**
   * Where the bytes come from.
   * - `empty`: there are none.
   * - `stored`: from memory or the disk; no request to the origin.
   * - `started`: this caller started the download.
   * - `resumed`: this caller started the download, and part of the bytes were there.
   * - `joined`: the download of another caller was running.
   * - `straight`: from the origin to this client alone; nothing is stored.
   */
  readonly from: 'empty' | 'stored' | Joined['how'] | 'straight'
}

export interface ContentsOptions {
  readonly store: Store
  readonly downloads: Downloads
  readonly client: OriginClient
  readonly offline: boolean
  /** Whether bytes that are not public may be stored. Each caller's right is proved before this file is called. */
  readonly cachePrivate: boolean
  readonly observer: Observer
  readonly onStorageFailed: (error: unknown) => void
}

export class Contents {
  readonly #options: ContentsOptions

  constructor(options: ContentsOptions) {
    this.#options = options
  }

  /**
   * Opens the bytes for a reader: from the store, by joining or starting a download, or straight from the origin where nothing
   * may or can be stored. In every case a reader of the whole gets verified bytes or an error, never a short or wrong file.
   *
   * Throws RepoMoved when the first bytes lie under a repo name that the policies have not decided about, MirrorError
   * offline_and_absent in offline mode, and whatever `countAgainstLimit` throws. Later failures reach the body's reader.
   */
  async open(ctx: Reader, content: Content, wanted: Wanted): Promise<Opened> {
    if (content.sizeBytes === 0) return { body: { kind: 'bytes', bytes: EMPTY }, from: 'empty' }
    const isPublic = await content.isPublic
    ctx.admission?.checkName()
    const unstored = this.#unstored(content, isPublic)
    if (unstored !== undefined) return this.#straight(ctx, content, wanted.range, unstored)
    const arriving = this.#options.downloads.arriving(content.key, ctx.signal)
    if (arriving !== undefined) await arriving
    const stored = await this.#openStored(ctx, content, wanted)
    if (stored !== undefined) return { body: stored, from: 'stored' }
    const local = this.#local(ctx, content, wanted.range)
    if (local !== undefined) return { body: local, from: 'stored' }
    if (this.#options.offline) throw new MirrorError('offline_and_absent')
    const joined = await this.#join(ctx, content, { ...wanted, isPublic })
    // The store has no space for what this reader wants, or cannot take it, or a load has taken too long.
    if (joined === undefined || joined === 'loading')
      return this.#straight(ctx, content, wanted.range, joined ?? 'no-space')
    await refuseMove(joined.source)
    const { source, download, how } = joined
    const rescue = this.#rescue(ctx, content, wanted, (position) => download.verifierAt(position))
    const storing = this.#storing(content, joined)
    return { body: { kind: 'source', source, rescue, isWanted: this.#isWanted(ctx), storing }, from: how }
  }

  /**
   * Puts the bytes into the store without sending them to a client: a reader that takes nothing. It joins a running
   * download, and others may join it. Resolves to true when the bytes are verified and on the disk, and to false when
   * they may not be stored, the store has no space, or a load of them takes too long. Throws as `open` and its body do.
   * `ctx.signal` ends the waiting; a download that no other caller reads then ends by the rules for abandoned ones.
   */
  async fill(ctx: Reader, content: Content): Promise<boolean> {
    const { key, sizeBytes } = content
    if (sizeBytes === 0) return true
    const isPublic = await content.isPublic
    ctx.admission?.checkName()
    if (this.#unstored(content, isPublic) !== undefined) return false
    await this.#options.downloads.arriving(key, ctx.signal)
    if (await this.isStored(key, sizeBytes)) return true
    if (this.#options.offline) throw new MirrorError('offline_and_absent')
    const wanted = { range: { start: 0, end: sizeBytes }, whole: true, isPublic }
    const joined = await this.#join(ctx, content, wanted)
    if (joined === undefined || joined === 'loading') return false
    try {
      let position = 0
      while (position < sizeBytes) position = await joined.source.waitFor(position)
    } finally {
      await joined.source.close()
    }
    await this.#options.downloads.settled(key)
    return this.isStored(key, sizeBytes)
  }

  /** Whether the bytes are stored, whole and of this size. A disk that cannot be read has nothing. */
  async isStored(key: BlobKey, sizeBytes: number): Promise<boolean> {
    const { store, downloads } = this.#options
    const { blobs } = store
    if (blobs.cachedBytes(key, sizeBytes) !== undefined) return true
    await downloads.finishing(key)
    const blob = await blobs.open(key, sizeBytes).catch(() => undefined)
    await blob?.close()
    return blob !== undefined
  }

  /**
   * Where a later request finds the same bytes, or another range of them, without waiting. Undefined when `body` shows
   * that it cannot: the bytes are still on their way, or not stored at all.
   */
  reuse(body: Body, { key, sizeBytes }: Content): Pick<Reusable, 'bytes' | 'file'> | undefined {
    const { blobs } = this.#options.store
    if (body.kind === 'bytes')
      return { bytes: () => (sizeBytes === 0 ? EMPTY : blobs.cachedBytes(key, sizeBytes)) }
    if (body.kind !== 'source' || body.source.blob === undefined) return undefined
    const cached = (range: ByteRange) => blobs.cachedRange(key, sizeBytes, range)
    const read = async (range: ByteRange) => {
      const blob = blobs.openCached(key, sizeBytes) ?? (await blobs.open(key, sizeBytes))
      try {
        return await blob?.readRange(range)
      } finally {
        await blob?.close()
      }
    }
    // What cannot be read takes the full path, which reports it.
    return { file: { sizeBytes, cached, read: (range) => read(range).catch(() => undefined) } }
  }

  /**
   * Whether the bytes are stored; if they are not, and will not be when they are fetched, why. `presentBytes` of those that are
   * absent have arrived in a download that is not finished.
   */
  async standing(
    content: Content,
  ): Promise<{ standing: 'stored' | 'absent' | Unstored; presentBytes: number }> {
    const { key, sizeBytes } = content
    if (sizeBytes === 0) return { standing: 'stored', presentBytes: 0 }
    const unstored = this.#unstored(content, await content.isPublic)
    if (unstored !== undefined) return { standing: unstored, presentBytes: 0 }
    if (await this.isStored(key, sizeBytes)) return { standing: 'stored', presentBytes: sizeBytes }
    const presentBytes = await this.#options.store.partialBytes(key)
    return { standing: 'absent', presentBytes: Math.min(presentBytes, sizeBytes) }
  }

  /** Why the bytes may not be stored. Without a digest, nothing could say later whether they are the file. */
  #unstored({ key, mayStore }: Content, isPublic: boolean): Unstored | undefined {
    if (key.startsWith('opaque:')) return 'no-digest'
    if (!mayStore) return 'rule'
    return isPublic || this.#options.cachePrivate ? undefined : 'restricted'
  }

  #storing({ key, sizeBytes }: Content, { download, presentBefore }: Joined): Storing {
    return {
      get presentBytes() {
        return download.presentBytes
      },
      get arrivedBytes() {
        return Math.max(0, download.presentBytes - presentBefore)
      },
      settled: async () => {
        await this.#options.downloads.settled(key)
        return this.isStored(key, sizeBytes)
      },
    }
  }

  #isWanted(ctx: Reader): () => boolean {
    const caller = callerKey(ctx.caller)
    return () => this.#options.client.isWanted(caller)
  }

  async #openStored(ctx: Reader, content: Content, wanted: Wanted): Promise<Body | undefined> {
    const { store, offline, onStorageFailed } = this.#options
    const { key, sizeBytes } = content
    const { start, end } = wanted.range
    const inMemory = (): Body | undefined => {
      const bytes = store.blobs.cachedBytes(key, sizeBytes)
      return bytes && { kind: 'bytes', bytes: bytes.subarray(start, end) }
    }
    const known = inMemory()
    if (known !== undefined) return known
    const blob = await store.blobs.open(key, sizeBytes).catch((error: unknown) => {
      onStorageFailed(error)
      return undefined
    })
    if (blob === undefined) return undefined
    // Opening a small blob reads it.
    const read = inMemory()
    if (read !== undefined) {
      await blob.close()
      return read
    }
    const source = blobSource(blob, wanted.range)
    if (offline) return { kind: 'source', source }
    // Unless reads are checked, what was already sent may have been wrong: no end of it can be vouched for.
    const verifierAt = blob.isChecked
      ? (position: number) => hashedUpTo(blob, position, ctx.signal)
      : undefined
    const rescue = this.#rescue(ctx, content, wanted, verifierAt)
    return { kind: 'source', source, rescue, isWanted: this.#isWanted(ctx) }
  }

  #local(ctx: Reader, { key, sizeBytes, local }: Content, range: ByteRange): Body | undefined {
    const bytes = local?.(range, ctx.signal)
    if (bytes === undefined) return undefined
    const lengthBytes = range.end - range.start
    const { observer } = this.#options
    const stream = lengthBytes < sizeBytes ? bytes : verified(bytes, new Verifier(key, sizeBytes), observer)
    return { kind: 'stream', stream, lengthBytes }
  }

  #join(
    ctx: Reader,
    content: Content,
    { isPublic, ...wanted }: Wanted & { readonly isPublic: boolean },
  ): Promise<Joined | 'loading' | undefined> {
    const { key, sizeBytes } = content
    const reader = { ...wanted, signal: ctx.signal, countAgainstLimit: ctx.countAgainstLimit }
    // It goes into the store at its own pace, however slow its readers are. A short body ends as soon as a question
    // would.
    const lane = sizeBytes <= SHORT_BODY_BYTES ? 'question' : 'pull'
    return this.#options.downloads.join(key, sizeBytes, reader, () =>
      // Other callers may join, and stay when the credential of the first has expired or is out of quota.
      content.source({ lane, isShared: isPublic }),
    )
  }

  /** Straight from the origin to one client: nothing touches the disk, and a whole file is verified all the same. */
  async #straight(ctx: Reader, content: Content, range: ByteRange, unstored: Unstored): Promise<Opened> {
    await ctx.countAgainstLimit?.()
    const stream = this.#passing(ctx, content, range)
    // Without policies and token scopes the repo may have any name.
    const opened = ctx.admission === undefined ? stream : await begun(stream)
    const lengthBytes = range.end - range.start
    const isWanted = this.#isWanted(ctx)
    return { body: { kind: 'stream', stream: opened, lengthBytes, isWanted, unstored }, from: 'straight' }
  }

  /** A short range is read at once, where there is memory for it, so that a slow client does not keep the connection. */
  async *#passing(ctx: Reader, content: Content, range: ByteRange): AsyncGenerator<Buffer, void, undefined> {
    const { client, observer } = this.#options
    const { key, sizeBytes } = content
    const release = client.buffers.reserve(callerKey(ctx.caller), range.end - range.start)
    const lane = release === undefined ? 'relay' : 'question'
    const bytes = content.source({ lane, isShared: false }).read(range, ctx.signal)
    const whole = range.start === 0 && range.end === sizeBytes
    const stream = whole ? verified(bytes, new Verifier(key, sizeBytes), observer) : bytes
    yield* release === undefined ? stream : bufferBody(stream, release)
  }

  /**
   * How a reader goes on when the disk fails under it: the rest comes straight from the origin, and the digest still decides.
   * `verifierAt` resolves to a verifier that has hashed the bytes up to there, or as far as the disk lets it.
   */
  #rescue(
    ctx: Reader,
    content: Content,
    { range, whole }: Wanted,
    verifierAt: ((position: number) => Promise<Verifier>) | undefined,
  ): (position: number) => AsyncIterable<Buffer> {
    const { observer } = this.#options
    const straight = (position: number): AsyncIterable<Buffer> =>
      content
        .source({ lane: 'relay', isShared: false })
        .read({ start: position, end: range.end }, ctx.signal, { hasBegun: position > range.start })
    return async function* (position) {
      if (!whole) {
        yield* straight(position)
        return
      }
      // What was sent so far came from the disk that has just failed. Without its hash the end cannot be verified.
      const verifier =
        position === 0 ? new Verifier(content.key, content.sizeBytes) : await verifierAt?.(position)
      if (verifier === undefined)
        throw new MirrorError('integrity_mismatch', { detail: { reason: 'disk failed' } })
      const missing = position - verifier.position
      yield* skip(verified(straight(verifier.position), verifier, observer), missing)
    }
  }
}

const EMPTY = Buffer.alloc(0)

/**
 * Waits for the first bytes of a download. When they lie under a repo name that was not decided about, closes the source and
 * throws RepoMoved. Other failures are left to the reader of the body.
 */
async function refuseMove(source: ByteSource): Promise<void> {
  try {
    await source.waitFor(source.range.start)
  } catch (error) {
    if (!isRepoMoved(error)) return
    await source.close()
    throw error
  }
}

/** The same chunks, after the first has come. Throws what kept it from coming. */
async function begun(stream: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer>> {
  const chunks = stream[Symbol.asyncIterator]()
  const first = chunks.next()
  await first
  let next: Promise<IteratorResult<Buffer>> | undefined = first
  return {
    [Symbol.asyncIterator]: () => ({
      next() {
        const chunk = next ?? chunks.next()
        next = undefined
        return chunk
      },
      return: async () => (await chunks.return?.()) ?? { done: true, value: undefined },
    }),
  }
}

/** A verifier that has hashed the first `position` bytes of an open blob, or those before the damaged ones. */
async function hashedUpTo(blob: BlobHandle, position: number, signal: AbortSignal): Promise<Verifier> {
  const verifier = new Verifier(blob.key, blob.sizeBytes)
  await hashUpTo(
    verifier,
    (...to) => {
      signal.throwIfAborted()
      return blob.read(...to).catch(() => 0)
    },
    position,
  )
  return verifier
}

/** A finished blob as a source of `range`. Closing the source closes the blob. */
function blobSource(blob: BlobHandle, range: ByteRange): ByteSource {
  return {
    range,
    file: blob.file,
    blob: { key: blob.key, sizeBytes: blob.sizeBytes, link: () => blob.link() },
    isTrusted: () => blob.isTrusted(range),
    waitFor: () => Promise.resolve(range.end),
    read: (buffer, offset, length, position) => blob.read(buffer, offset, length, position),
    close: () => blob.close(),
  }
}
