// What the rest of the mirror knows of the store: finished blobs, partials (blobs that are not finished), facts, and the
// space that they take. Everything that is promised here is checked by test/unit/store/contract/, which runs on any
// implementation; disk-store.ts is the one on a local disk.
//
// The store keeps its own accounts: it makes room, keeps what is in use from eviction, and counts what has landed. It
// does not know where bytes come from, who may read them, or what a fact means.
//
// There is one way for bytes to become a blob: `beginPartial`, `write`, a right digest, `commit`. Code that brings bytes
// from a place other than the Hub (a file to import, an object store) does it in the same way, so that space, digest and
// durability are looked after in one place. A Git LFS object is a blob under `sha256:<oid>`.

import type { ByteRange } from '../http/range.ts'
import type { BlobKey, ReadAt } from './digest.ts'
import type { BlockMap } from './partials/blocks.ts'

export const FACT_KINDS = ['files', 'refs', 'repos', 'documents'] as const
export type FactKind = (typeof FACT_KINDS)[number]

export interface Store {
  readonly blobs: Blobs
  readonly facts: Facts
  /**
   * Resumes the partial of `key`, or begins an empty one. An earlier partial counts only if it was begun with the same
   * size. It is kept from eviction until it is ended.
   *
   * At most one partial of a key may be open at a time: the caller makes sure of it. The caller ends it by `commit`,
   * `keep` or `discard`, and calls `release` once. Rejects when the store cannot take bytes.
   */
  beginPartial(key: BlobKey, sizeBytes: number): Promise<PartialBlob>
  /** How much of a blob that is not finished is on the disk: 0 if nothing is. Rejects when the disk cannot be read. */
  partialBytes(key: BlobKey): Promise<number>
  /** The accounts as they are now. What an earlier process stored is missing until `scanned` has resolved. */
  status(): StoreStatus
  /**
   * Resolves once everything that an earlier process stored is in the accounts; rejects when it could not be counted.
   * Blobs, partials and facts can be used before.
   */
  readonly scanned: Promise<void>
  /** Whether nothing can be written. Blobs and facts that are stored can be read all the same. */
  readonly readOnly: boolean
  /**
   * Whether `bytes` more, of which small blobs have `smallBytes`, can be stored while all blobs stay that are held, and others of
   * `keptBytes` in all. It is an estimate: other programs use the same disk. Evicts nothing. Rejects when the disk cannot be read.
   */
  hasRoom(bytes: number, keptBytes: number, smallBytes: number): Promise<boolean>
  /** Whether the blob is stored and cannot be evicted now: a reader has it open, or the operator keeps it. */
  isHeld(key: BlobKey): boolean
  /** Makes room after the limits have become narrower, and reports them. Does nothing when read-only. Never rejects. */
  fit(): Promise<void>
  /**
   * Writes something and makes it durable, as a readiness check. Rejects with the error of the disk. Does nothing when
   * read-only.
   */
  probe(): Promise<void>
  /**
   * Ends what is under way. Facts that were written before are stored when it resolves, and another process may open the
   * store. The caller has ended its partials and closed its blobs before.
   */
  close(): Promise<void>
}

/** The accounts of a store, in bytes. */
export interface StoreStatus {
  /** Taken by blobs, partials, git repositories and facts. Of a partial, what has landed counts. */
  readonly sizeBytes: number
  /** The part of `sizeBytes` that facts take. */
  readonly factBytes: number
  /** Promised to partials, and not taken yet. 0 when no partial is open. */
  readonly reservedBytes: number
  /** The most that may be taken; undefined when only the disk limits it. */
  readonly limitBytes: number | undefined
  /** Number of blobs, partials and git repositories. */
  readonly blobs: number
  /** Number of git repositories, and their part of `sizeBytes`. */
  readonly gits: number
  readonly gitBytes: number
}

/** Finished blobs. Each has had the digest of its key when it was committed, and never changes. */
export interface Blobs {
  /**
   * Opens the blob of `key`, and keeps it from eviction until it is closed. Undefined when it is not stored. A blob that
   * has not exactly `sizeBytes` bytes any more, or a small one whose digest is wrong, is damaged: it is removed, and
   * counts as not stored. Rejects when the disk cannot be read.
   */
  open(key: BlobKey, sizeBytes: number): Promise<BlobHandle | undefined>
  /**
   * Does the same as `open`, without waiting, where another reader has the blob open or had it open a moment ago.
   * Undefined otherwise, which does not mean that it is not stored.
   */
  openCached(key: BlobKey, sizeBytes: number): BlobHandle | undefined
  /**
   * All bytes of a small blob where they are in memory. Undefined otherwise, which does not mean that it is not stored.
   * The caller must not write to them.
   */
  cachedBytes(key: BlobKey, sizeBytes: number): Buffer | undefined
  /**
   * The bytes of a short range where they are in memory, and the blob is open or was a moment ago. Undefined otherwise,
   * which does not mean that they are not stored. The caller must not write to them.
   */
  cachedRange(key: BlobKey, sizeBytes: number, range: ByteRange): Buffer | undefined
  /** Removes the blob; handles that are open read on. Does nothing when it is not stored, or the store is read-only. */
  remove(key: BlobKey): Promise<void>
}

/** An open blob. The opener calls `close`; further calls are harmless. */
export interface BlobHandle {
  readonly key: BlobKey
  readonly sizeBytes: number
  /** Identifies what is read: handles with the same object here can share their reads. */
  readonly file: object
  /** Whether `read` compares what it reads with stored checksums, and rejects with EIO where the disk has changed it. */
  readonly isChecked: boolean
  /**
   * Whether a read of `range` would not check anything now: either nothing is checked here, or it was found right a
   * moment ago. Only then may another process read these bytes by itself.
   */
  isTrusted(range: ByteRange): boolean
  /**
   * Makes the file available to another process that opens it by name: resolves with the name of a hard link in the folder
   * `handoff` of the store, which stays for 30 seconds at least. Resolves with undefined when the store makes no links. Never
   * rejects.
   */
  link(): Promise<string | undefined>
  /** Reads as `ReadAt` says: fewer bytes than asked for mean the end of the blob. */
  readonly read: ReadAt
  /**
   * Reads a short range within the blob, and may keep it and its surroundings in memory for the next reader. Undefined when
   * the disk has lost bytes of it. Rejects as `read` does. The caller must not write to the bytes.
   */
  readRange(range: ByteRange): Promise<Buffer | undefined>
  close(): Promise<void>
}

/**
 * A blob that is being stored. Bytes land by `write`, in any order of blocks; readers see them as soon as the write has
 * resolved. It ends once, by `commit`, `keep` or `discard`; whatever was promised to it is given back then.
 */
export interface PartialBlob {
  readonly key: BlobKey
  readonly sizeBytes: number
  /** The blocks that have landed. Only the partial changes it. */
  readonly map: BlockMap
  /**
   * Makes room for the bytes of `range` that have not landed and were not promised before: all promises together never
   * exceed the file. False when there is no room: the bytes must then not be written. Resolves in the order of the calls.
   * A promise that comes after the end is given back at once. Never rejects.
   */
  reserve(range: ByteRange): Promise<boolean>
  /**
   * Stores bytes that begin at the start of a block, or at `resumeAt` of it. Other bytes may be lost. Rejects with the
   * error of the disk.
   */
  write(position: number, chunks: readonly Uint8Array[]): Promise<void>
  /**
   * Lets another thread of this process write the bytes of `range`, which begins where `write` may, in order. Undefined if
   * the bytes must go through `write`. What the thread has written counts once `landed` was called. The caller ends the
   * partial, or its use of the bytes, only after the thread has stopped writing.
   */
  writer(range: ByteRange): PartialWriter | undefined
  /** Counts bytes that a thread has written, as `write` counts those that it writes. */
  landed(position: number, length: number): void
  /** Where writing of a block that is missing goes on: at its start, or behind what has landed of it. */
  resumeAt(block: number): number
  /** End (exclusive) of the bytes that can be read from `position` on without a gap; `position` when there are none. */
  availableEnd(position: number): number
  /**
   * Resolves once the byte at `position` can be read. Rejects with the error of `fail` or `discard` when it will never
   * come, and with the reason of `signal` when that aborts first.
   */
  whenAvailable(position: number, signal: AbortSignal): Promise<void>
  /** Reads as `ReadAt` says. Only bytes before `availableEnd` are right. */
  readonly read: ReadAt
  /** Begins to compute the digest. The caller closes it. */
  digest(): GrowingDigest
  /** Makes what has landed durable, so that it outlives a crash. Rejects with the error of the disk. */
  checkpoint(): Promise<void>
  /** Rejects everything that waits for bytes, now and later, with `error`. Does not end the partial. */
  fail(error: unknown): void
  /** Counts one more user of the bytes, who calls `release` once. They can be read after the end, too. */
  retain(): this
  /** Ends one use of the bytes. The last one closes them; it also ends the partial as `keep` does, if that is open. */
  release(): Promise<void>
  /**
   * Ends it as the blob of its key, which is stored and durable when this resolves. The caller has checked the digest.
   * Rejects with the error of the disk: the partial is not ended then.
   */
  commit(): Promise<void>
  /**
   * Ends it unfinished. The next `beginPartial` of the key goes on with what has landed, unless that is nothing, or the
   * store does not keep a partial this small. Rejects with the error of the disk; it is ended all the same.
   */
  keep(): Promise<void>
  /**
   * Ends it and removes its bytes, and does what `fail` does. With `quarantine` the store may keep them out of the way
   * of readers, to be looked into. Rejects with the error of the disk; it is ended all the same.
   */
  discard(error: unknown, options: { readonly quarantine: boolean }): Promise<void>
}

/** How another thread writes to a partial. */
export interface PartialWriter {
  /** What the thread needs. `module` is the URL of code that it loads: that exports `openSink`, which is given `data`. */
  readonly sink: { readonly module: string; readonly data: unknown }
  /**
   * Moves the end of what may be written down to `end`, at once. Returns where it is: `end`, or further on if the thread may
   * be writing up to there. Nothing is written behind it.
   */
  limit(end: number): number
}

/** The digest of a file that is still growing, computed while it grows. */
export interface GrowingDigest {
  /** Says that all bytes before `end` have landed. */
  advance(end: number): void
  /** Resolves, once all bytes have landed, with whether they have the digest of the key. Rejects when they cannot be read. */
  readonly matches: Promise<boolean>
  /** Gives it up: `matches` may never settle then. Harmless afterwards. */
  close(): void
}

/** The part of the limit of a store that facts may take. */
export const FACTS_SHARE = 1 / 20

/** Before the origin in the keys of facts about repos that are not public. */
export const RESTRICTED = 'restricted:'

/**
 * Small JSON values under a kind and a key. Losing one costs a request to the Hub and nothing else: they outlive a crash
 * of the process, not always a power cut, and the oldest go when they take too much room.
 */
export interface Facts {
  /**
   * The value, or undefined. A damaged fact counts as none. A field `body` of the value that was a Buffer is a Buffer
   * again. Rejects when the disk cannot be read.
   */
  read(kind: FactKind, key: string): Promise<unknown>
  /** The value where it is in memory. Undefined otherwise, which does not mean that there is none. */
  peek(kind: FactKind, key: string): unknown
  /**
   * Stores a value. `read` and `peek` see it at once; it is on the disk when this resolves. Changes of one fact reach
   * the disk in the order of the calls. Rejects with the error of the disk; the value stays in memory then.
   */
  write(kind: FactKind, key: string, value: unknown): Promise<void>
  /** Removes a value, as `write` stores one. */
  remove(kind: FactKind, key: string): Promise<void>
  /**
   * All values of a kind that has small values only, in no order. What is changed meanwhile is there or is not. Rejects when the
   * disk cannot be read.
   */
  list(kind: 'repos'): AsyncIterable<{ readonly key: string; readonly value: unknown }>
  /** The keys of a kind that begin with `prefix`, as `list` has values. Reads no bodies. */
  keys(kind: FactKind, prefix: string): AsyncIterable<string>
}
