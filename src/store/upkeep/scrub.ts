// One pass over all blobs that verifies each against the digest in its key. `hubmirror verify` and the scrubber of a
// running mirror share it. Damaged blobs are moved to quarantine. What is done about its findings is up to the caller.

import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { errorCode, isMissing, unlinkIfThere } from '../atomic.ts'
import { SMALL_BYTES } from '../blobs/blob-file.ts'
import type { SmallBlob, SmallBlobs } from '../blobs/blob-table.ts'
import { BlockSums, readBlockSums, writeBlockSums } from '../blobs/block-sums.ts'
import { quarantineBlob, quarantineBytes } from '../blobs/quarantine.ts'
import type { Damage } from '../damage.ts'
import { type BlobKey, hasDigest, hashUpTo, KEY_ALGORITHMS, type ReadAt, Verifier } from '../digest.ts'
import type { Layout } from '../layout.ts'
import { fileRecords } from './inventory.ts'
import { statAll, walkBlobs, walkSums } from './walk.ts'

/** Size of one read: large enough for spinning disks, small enough to stop and to pace. */
const READ_BYTES = 1_048_576
/** Opening a file costs the disk about as much as reading this many bytes. It paces a store of tiny files. */
const OPEN_COST_BYTES = 65_536

/** The clock by which reads are paced. `sleep` resolves early when `signal` aborts, and never rejects. */
export interface ScrubClock {
  /** Milliseconds that never step back. */
  now(): number
  sleep(delayMs: number, signal: AbortSignal): Promise<void>
}

/** The monotonic clock of this process. */
export const realClock: ScrubClock = {
  now: () => performance.now(),
  sleep: (delayMs, signal) =>
    delay(Math.min(delayMs, 2_147_483_647), undefined, { signal }).catch(() => undefined),
}

/** What a pass has found so far. */
export interface ScrubReport {
  /** False when the signal ended it. */
  readonly finished: boolean
  /** The last blob that was handled: the next pass continues after it. */
  readonly last: BlobKey | undefined
  readonly blobs: number
  readonly sizeBytes: number
  readonly damaged: number
  /** Blobs that could not be read for another reason than damage (EACCES). They stay where they are. */
  readonly refused: number
}

/** What a pass needs. Callbacks are awaited; an error that they throw ends the pass. */
export interface ScrubOptions {
  /** Undefined for as fast as the disk can. */
  readonly rateBytesPerSecond: number | undefined
  readonly signal: AbortSignal
  /** The small blobs in the table. */
  readonly smallBlobs: SmallBlobs
  /** Whether to store checksums of the blocks for blobs that have none, so that reads can be checked. */
  readonly keepsSums?: boolean
  /**
   * Whether to compare the lengths of opaque blobs with their facts. Not in the process of a mirror, which has its facts open
   * already.
   */
  readonly readsFacts?: boolean
  /** Continues after this blob. */
  readonly from?: BlobKey | undefined
  /** After each read. */
  readonly onBytes?: (bytes: number) => void
  /** After each blob, damaged or not. */
  readonly onBlob?: (progress: ScrubReport) => void | Promise<void>
  readonly onDamaged: (damage: Damage) => void | Promise<void>
  readonly onRefused?: (key: BlobKey, error: unknown) => void
  readonly clock?: ScrubClock
}

/**
 * Hashes every blob after `from`, in the order of their names, and moves the damaged ones to quarantine. Blobs that are
 * stored meanwhile may be missed: they were verified when they were stored. Blobs that are removed meanwhile are skipped.
 * Resolves early when `signal` aborts. Rejects when a callback throws, or a directory cannot be read.
 */
export async function scrub(layout: Layout, options: ScrubOptions): Promise<ScrubReport> {
  const { signal } = options
  const pace = createPace(options.rateBytesPerSecond, options.clock ?? realClock)
  const buffer = Buffer.allocUnsafe(READ_BYTES)
  const count = { blobs: 0, sizeBytes: 0, damaged: 0, refused: 0 }
  let last = options.from
  let lengths: ReadonlyMap<BlobKey, number> | undefined
  for await (const { key, small } of allBlobs(layout, options)) {
    if (signal.aborted) return { finished: false, last, ...count }
    if (options.readsFacts === true && key.startsWith('opaque:')) lengths ??= await knownLengths(layout)
    const how = { ...options, pace, buffer, expectedBytes: lengths?.get(key) }
    const found = small === undefined ? await inspect(layout, key, how) : await inspectSmall(small, how)
    if (found.kind === 'stopped') return { finished: false, last, ...count }
    last = key
    if (found.kind === 'refused') {
      count.refused += 1
      options.onRefused?.(key, found.error)
    }
    if (found.kind === 'sound' || found.kind === 'damaged') {
      count.blobs += 1
      count.sizeBytes += found.sizeBytes
    }
    if (found.kind === 'damaged') {
      count.damaged += 1
      const place = await quarantine(layout, options.smallBlobs, { key, ...found }).catch(
        () => 'in-place' as const,
      )
      await options.onDamaged({ key, sizeBytes: found.sizeBytes, reason: found.reason, place })
    }
    await options.onBlob?.({ finished: false, last, ...count })
  }
  await removeLostSums(layout, signal)
  return { finished: true, last, ...count }
}

/** The blobs in files and in the table, in the order of their names. */
async function* allBlobs(
  layout: Layout,
  { from, smallBlobs }: ScrubOptions,
): AsyncGenerator<{ readonly key: BlobKey; readonly small: SmallBlob | undefined }> {
  const files = walkBlobs(layout, from)
  const rows = smallBlobs.after(from)
  try {
    let [file, row] = [await files.next(), await rows.next()]
    while (file.done !== true || row.done !== true) {
      if (row.done === true || (file.done !== true && isBefore(file.value, row.value.key))) {
        yield { key: file.value as BlobKey, small: undefined }
        file = await files.next()
      } else {
        yield { key: row.value.key, small: row.value }
        row = await rows.next()
      }
    }
  } finally {
    await files.return(undefined)
    await rows.return(undefined)
  }
}

function isBefore(one: BlobKey, other: BlobKey): boolean {
  const [a, b] = [one, other].map((key) => KEY_ALGORITHMS.findIndex((name) => key.startsWith(`${name}:`)))
  return a === b ? one < other : (a ?? 0) < (b ?? 0)
}

/** Takes a damaged blob out of the way of readers. Rejects with the error of the disk. */
async function quarantine(
  layout: Layout,
  smallBlobs: SmallBlobs,
  { key, inode, bytes }: { readonly key: BlobKey; readonly inode?: number; readonly bytes?: Buffer },
): Promise<Damage['place']> {
  if (inode === undefined) await quarantineBytes(layout, key, bytes ?? Buffer.alloc(0))
  else if ((await quarantineBlob(layout, key, inode)) === 'replaced') return 'replaced'
  await smallBlobs.discard(key)
  return 'quarantined'
}

type Finding =
  | { readonly kind: 'sound'; readonly sizeBytes: number }
  | {
      readonly kind: 'damaged'
      readonly sizeBytes: number
      readonly reason: Damage['reason']
      /** Of the file. */
      readonly inode?: number
      /** Of a blob in the table, as far as they are there. */
      readonly bytes?: Buffer
    }
  | { readonly kind: 'refused'; readonly error: unknown }
  | { readonly kind: 'gone' | 'stopped' }

interface Inspection {
  readonly signal: AbortSignal
  readonly pace: Pace
  readonly buffer: Buffer
  readonly expectedBytes: number | undefined
  readonly keepsSums?: boolean
  readonly onBytes?: (bytes: number) => void
}

async function inspectSmall({ key, sizeBytes, bytes }: SmallBlob, how: Inspection): Promise<Finding> {
  how.onBytes?.(bytes.length)
  await how.pace(bytes.length, how.signal)
  return bytes.length === sizeBytes && hasDigest(key, bytes)
    ? { kind: 'sound', sizeBytes }
    : { kind: 'damaged', sizeBytes, reason: 'digest', bytes }
}

async function inspect(layout: Layout, key: BlobKey, how: Inspection): Promise<Finding> {
  let handle: FileHandle
  try {
    handle = await open(layout.blob(key), constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  } catch (error) {
    return isMissing(error) ? { kind: 'gone' } : { kind: 'refused', error }
  }
  try {
    const { size: sizeBytes, ino: inode } = await handle.stat()
    await how.pace(OPEN_COST_BYTES, how.signal)
    if (how.expectedBytes !== undefined && how.expectedBytes !== sizeBytes)
      return { kind: 'damaged', sizeBytes, reason: 'length', inode }
    try {
      const before = how.keepsSums === true ? await readBlockSums(layout, key, sizeBytes) : undefined
      const isOpaque = key.startsWith('opaque:')
      const isSummed = how.keepsSums === true && sizeBytes > SMALL_BYTES && (before === undefined || isOpaque)
      const sums = isSummed ? new BlockSums(sizeBytes) : undefined
      const matches = await hashAll(handle, new Verifier(key, sizeBytes, { tee: sums }), how)
      if (matches === undefined) return { kind: 'stopped' }
      if (!matches) return { kind: 'damaged', sizeBytes, reason: 'digest', inode }
      // For an opaque key there is no digest: the sums are the only thing to compare with.
      if (sums !== undefined && before?.equals(sums) === false)
        return { kind: 'damaged', sizeBytes, reason: 'block', inode }
      if (sums !== undefined && before === undefined)
        await writeBlockSums(layout, key, sums).catch(() => undefined)
      return { kind: 'sound', sizeBytes }
    } catch (error) {
      // EIO means that the disk has lost these bytes. Any other error says nothing about the blob.
      if (errorCode(error) === 'EIO') return { kind: 'damaged', sizeBytes, reason: 'unreadable', inode }
      return { kind: 'refused', error }
    }
  } finally {
    await handle.close()
  }
}

/** Removes sums whose blob is gone: a crash or another program can leave them behind. */
async function removeLostSums(layout: Layout, signal: AbortSignal): Promise<void> {
  for await (const [key, stats] of statAll(walkSums(layout), (key) => layout.blob(key))) {
    if (signal.aborted) return
    // If a blob is stored at this very moment, it loses its sums, and its reads are not checked.
    if (stats === undefined) await unlinkIfThere(layout.sums(key)).catch(() => undefined)
  }
}

/** Whether the bytes have the digest of the key; undefined when the signal aborted first. */
async function hashAll(
  handle: FileHandle,
  verifier: Verifier,
  how: Inspection,
): Promise<boolean | undefined> {
  const read: ReadAt = async (buffer, offset, length, position) => {
    if (how.signal.aborted) return 0
    const { bytesRead } = await handle.read(buffer, offset, length, position)
    if (bytesRead === 0) return 0
    how.onBytes?.(bytesRead)
    await how.pace(bytesRead, how.signal)
    return bytesRead
  }
  await hashUpTo(verifier, read, Number.POSITIVE_INFINITY, how.buffer)
  return how.signal.aborted ? undefined : verifier.matches()
}

/** The length of each opaque blob according to the facts: nothing else about such a blob can be verified. */
async function knownLengths(layout: Layout): Promise<ReadonlyMap<BlobKey, number>> {
  const lengths = new Map<BlobKey, number>()
  for await (const record of fileRecords(layout))
    if (record !== 'damaged' && record.key.startsWith('opaque:')) lengths.set(record.key, record.sizeBytes)
  return lengths
}

type Pace = (bytes: number, signal: AbortSignal) => Promise<void>

/**
 * Makes a token bucket that may go into debt: a caller that took too much sleeps until the debt is paid. The bucket holds
 * at most the tokens of one second, so that a pause is not followed by a burst.
 */
export function createPace(rateBytesPerSecond: number | undefined, clock: ScrubClock): Pace {
  if (rateBytesPerSecond === undefined) return () => Promise.resolve()
  let tokens = 0
  let filledAt = clock.now()
  return async (bytes, signal) => {
    const now = clock.now()
    const earned = ((now - filledAt) / 1000) * rateBytesPerSecond
    tokens = Math.min(tokens + earned, rateBytesPerSecond) - bytes
    filledAt = now
    if (tokens < 0) await clock.sleep((-tokens / rateBytesPerSecond) * 1000, signal)
  }
}
