// What the mirror returns for a request, before there is any HTTP: status, headers, an outcome, and a body that is opened
// but not started. The sender must close the body, also when it sends nothing.

import type { ByteRange } from '../http/range.ts'
import type { CommitHash } from '../hub/names.ts'
import type { Outcome } from '../telemetry/observer.ts'

/** Bytes of a file that are on the disk, or on their way there. The opener of a source must call `close` once. */
export interface ByteSource {
  readonly range: ByteRange
  /** What it reads from. Sources with the same `file` read the same bytes. */
  readonly file?: object | undefined
  /** The finished blob that it is a range of. While the source is open, another process may read the blob by itself. */
  readonly blob?: {
    readonly key: string
    readonly sizeBytes: number
    /** The name of a link to it: `BlobHandle.link`. */
    link(): Promise<string | undefined>
  }
  /** False while reads must first be verified against stored checksums, which another process cannot do. */
  readonly isTrusted?: () => boolean
  /**
   * Resolves to the end (exclusive) of what can be read from `position` now, at least one byte beyond it. Rejects when the
   * bytes will never come, or when the reader's own signal aborts.
   */
  waitFor(position: number): Promise<number>
  read(buffer: Buffer, offset: number, length: number, position: number): Promise<number>
  close(): Promise<void>
}

/**
 * Why bytes are not stored: of a repo that is not public, by a rule, without a digest, for want of space, or because a load of the
 * same bytes is under way.
 */
export type Unstored = 'restricted' | 'rule' | 'no-digest' | 'no-space' | 'loading'

/** How far bytes are on their way into the store. */
export interface Storing {
  readonly presentBytes: number
  /** How many of them have arrived since this reader joined, also those for other readers. */
  readonly arrivedBytes: number
  /** Resolves to whether the bytes are stored, when their download is over. Never rejects. The body must be closed before. */
  settled(): Promise<boolean>
}

export type Body =
  | { readonly kind: 'none' }
  | { readonly kind: 'bytes'; readonly bytes: Buffer }
  /**
   * `rescue` goes on from a position when the disk fails under the source; absent when nothing can. `isWanted` says whether
   * other requests wait for what a stream occupies, so that a slow client is given less time. `storing` is absent when the
   * bytes are stored.
   */
  | {
      readonly kind: 'source'
      readonly source: ByteSource
      readonly rescue?: (position: number) => AsyncIterable<Buffer>
      readonly isWanted?: () => boolean
      readonly storing?: Storing
    }
  | {
      readonly kind: 'stream'
      readonly stream: AsyncIterable<Buffer>
      /** Undefined when it is not known before the end. */
      readonly lengthBytes: number | undefined
      readonly isWanted?: () => boolean
      /** Present when the bytes are not on this machine and do not come to stay. */
      readonly unstored?: Unstored
    }

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly outcome: Outcome
  readonly body: Body
  /** The status of the Hub's answer, when the Hub refused. */
  readonly originStatus?: number
  /** A stale answer: true when the Hub asks the credential to wait, false when the Hub is away. */
  readonly isLimited?: boolean | undefined
  /** Present when the same answer may be given to every caller who sends the same request. */
  readonly reusable?: Reusable | undefined
}

/** Why an answer may be given again without a decision, and for how long. */
export interface Reusable {
  /** The end of its life, in milliseconds of the monotonic clock. Something may invalidate it earlier. */
  readonly until: number
  /** When the Hub was asked where the branch is; undefined when the request named a commit. */
  readonly askedAt: number | undefined
  /** `Invalidations.generation` before anything that the answer depends on was read. */
  readonly generation: number
  readonly commit: CommitHash
  /** The body of a GET, while it is in memory; returns undefined when it no longer is. */
  readonly bytes?: (() => Buffer | undefined) | undefined
  /** Where a GET finds the body when it is not in memory. */
  readonly file?: ReusableFile | undefined
}

/** A stored file, of which short ranges can be read. The caller must not write to the bytes. */
export interface ReusableFile {
  readonly sizeBytes: number
  /** The bytes of a range, if they are in memory. */
  cached(range: ByteRange): Buffer | undefined
  /** Reads a range. Undefined when the file is not stored any more, or cannot be read. Never rejects. */
  read(range: ByteRange): Promise<Buffer | undefined>
}

/** The disk failed under a download. The bytes can still come straight from the origin. */
export class StorageFailed extends Error {
  constructor(cause: unknown) {
    super('the store cannot take the bytes', { cause })
    this.name = 'StorageFailed'
  }
}

/** RFC 9111 §5.1: how long ago the Hub was asked for what is answered from the store. No field when that is not known. */
export function ageHeader(ageMs: number | undefined): { readonly age?: string } {
  return ageMs === undefined ? {} : { age: String(Math.max(0, Math.floor(ageMs / 1000))) }
}

/** Releases a body that will not be sent. */
export async function closeBody(body: Body): Promise<void> {
  if (body.kind === 'source') await body.source.close()
  if (body.kind === 'stream') await body.stream[Symbol.asyncIterator]().return?.()
}

/** Length in bytes of the body that a client will receive; undefined when it is not known before the end. */
export function bodyLength(body: Body): number | undefined {
  switch (body.kind) {
    case 'none':
      return 0
    case 'bytes':
      return body.bytes.length
    case 'source':
      return body.source.range.end - body.source.range.start
    case 'stream':
      return body.lengthBytes
    default:
      return body satisfies never
  }
}
