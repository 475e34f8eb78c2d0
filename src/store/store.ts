// The disk as the other rooms see it: blobs, partials, facts and the books over them. Opening it takes the lock.

import { randomBytes } from 'node:crypto'
import { rm, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import type { Observer } from '../telemetry/observer.ts'
import { createIn, unlinkIfThere } from './atomic.ts'
import { SMALL_BYTES } from './blobs/blob-file.ts'
import { Blobs } from './blobs/blobs.ts'
import { BlockSums } from './blobs/block-sums.ts'
import { CheckedReads } from './blobs/checked-reads.ts'
import { type BlobKey, isBlobKey } from './digest.ts'
import { type CountedFacts, createFacts, type Facts } from './facts/facts.ts'
import { createLayout, type Layout } from './layout.ts'
import { Ledger } from './ledger.ts'
import { loadKernelLock, lockDirectory } from './lock.ts'
import { type GrowingDigest, HashThread } from './partials/hash-thread.ts'
import { Partial } from './partials/partial.ts'
import { checkDirectory, isStore, prepareDirectory, whileUsable, writeRefusal } from './prepare.ts'
import { partialName, scanStore } from './upkeep/scan.ts'
import type { Damage } from './upkeep/scrub.ts'

export { LocksUnsupported } from './lock.ts'
export { UnusableDirectory } from './prepare.ts'

export interface Store {
  readonly blobs: Blobs
  readonly facts: Facts
  readonly ledger: Ledger
  /**
   * Opens or resumes the unfinished blob of `key`, kept from eviction until it is settled; a small one that nothing is
   * left of is in memory until it is whole. The caller releases it and then settles it, once each.
   */
  openPartial(key: BlobKey, sizeBytes: number): Promise<Partial>
  /** Hashes an open partial on another thread while it grows; for small ones it does not pay. */
  digestOf(partial: Partial): GrowingDigest
  /** Enters a committed partial as a blob, or an ended one by what it occupies. */
  settlePartial(key: BlobKey, outcome: 'committed' | 'kept' | 'gone', sizeBytes: number): void
  /** Resolves when the walk at start has entered everything; rejects when the walk failed. */
  readonly scanned: Promise<void>
  /** Whether the volume is read-only, so that nothing is written and no lock is held. */
  readonly readOnly: boolean
  /** Tries to write and to sync, as a readiness check does. Throws what the disk says. Does nothing when read-only. */
  probe(): Promise<void>
  close(): Promise<void>
}

export interface StoreOptions {
  readonly root: string
  /** This and `minFreeBytes` are read at each use: they may change, and `fit` is told so. */
  readonly maxBytes: number | undefined
  readonly minFreeBytes: number
  readonly memoryBytes: number
  readonly now: () => number
  readonly observer: Observer
  /**
   * What is read of a blob of more than 64 KiB is held against the sums of its blocks, which are kept for that; a block
   * that was right is believed so long. Undefined: neither.
   */
  readonly checkReadsMs?: number | undefined
  /** Milliseconds that never step back. */
  readonly monotonic?: () => number
  /** A blob was found damaged when it was read, and is stored no more. */
  readonly onDamaged?: (damage: Damage) => void
  /** The disk failed at work that nobody waits for. */
  readonly onTrouble?: (error: unknown) => void
  /** A filled store on a read-only volume will do: the mirror is offline, so that nothing is to be stored. */
  readonly mayBeReadOnly?: boolean
  /** Told once of each optional ability that the volume lacks and the store does without. */
  readonly onLimit?: (limit: VolumeLimit, error: unknown) => void
}

/** `no-kernel-lock`: only the file LOCK keeps a second mirror out. `read-only`: nothing is written. */
export type VolumeLimit = 'no-kernel-lock' | 'read-only'

/**
 * Opens the store below `root`, making it where there is none. Throws DirectoryInUse, LocksUnsupported or
 * UnusableDirectory.
 */
export async function openStore(options: StoreOptions): Promise<Store> {
  const layout = createLayout(options.root)
  const { onLimit } = options
  await whileUsable(layout, () => checkDirectory(layout))
  if (options.mayBeReadOnly === true) {
    const refusal = await writeRefusal(layout)
    if (refusal !== undefined && (await isStore(layout))) {
      onLimit?.('read-only', refusal)
      return createStore(layout, options, { unlock: undefined, sizeBytes: 0 })
    }
  }
  const unlock = await whileUsable(layout, async () =>
    lockDirectory(layout, await loadKernelLock(), (error) => onLimit?.('no-kernel-lock', error)),
  )
  try {
    await whileUsable(layout, () => prepareDirectory(layout))
  } catch (error) {
    await unlock().catch(() => undefined)
    throw error
  }
  return createStore(layout, options, { unlock, sizeBytes: await diskBytes(layout) })
}

/** Facts may take the twentieth part of the store, and in a small one, or on a disk that does not say its size, this. */
const FACTS_AT_LEAST_BYTES = 1024 * 1024

function openFacts(
  layout: Layout,
  options: StoreOptions,
  over: { readonly ledger: Ledger; readonly diskBytes: number; readonly readOnly: boolean },
): CountedFacts {
  const { memoryBytes, now, onTrouble } = options
  return createFacts(layout, {
    memoryBytes: memoryBytes / 2,
    get maxBytes() {
      return Math.max(FACTS_AT_LEAST_BYTES, (options.maxBytes ?? over.diskBytes) / 20)
    },
    shortBytes: async () => Math.max(0, options.minFreeBytes - (await freeBytes(layout))),
    now,
    readOnly: over.readOnly,
    onBytes: (bytes) => {
      over.ledger.factBytes = bytes
    },
    ...(onTrouble === undefined ? {} : { onTrouble }),
  })
}

function openBlobs(
  layout: Layout,
  options: StoreOptions,
  { ledger, readOnly }: { readonly ledger: Ledger; readonly readOnly: boolean },
): Blobs {
  const { checkReadsMs: believedMs, monotonic = () => performance.now() } = options
  return new Blobs({
    layout,
    ledger,
    readOnly,
    memoryBytes: options.memoryBytes / 2,
    now: options.now,
    observer: options.observer,
    checks: believedMs === undefined ? undefined : new CheckedReads({ layout, believedMs, monotonic }),
    onDamaged: options.onDamaged,
  })
}

async function freeBytes(layout: Layout): Promise<number> {
  const { bavail, bsize } = await statfs(layout.root)
  return bavail * bsize
}

async function diskBytes(layout: Layout): Promise<number> {
  const { blocks, bsize } = await statfs(layout.root).catch(() => ({ blocks: 0, bsize: 0 }))
  return blocks * bsize
}

function openLedger(layout: Layout, options: StoreOptions, remove: (name: string) => Promise<void>): Ledger {
  const { onTrouble } = options
  return new Ledger({
    get maxBytes() {
      return options.maxBytes
    },
    get minFreeBytes() {
      return options.minFreeBytes
    },
    now: options.now,
    observer: options.observer,
    freeBytes: () => freeBytes(layout),
    remove,
    ...(onTrouble === undefined ? {} : { onTrouble }),
  })
}

function createStore(
  layout: Layout,
  options: StoreOptions,
  /** Without `unlock` the volume is read-only. */
  disk: { readonly unlock: (() => Promise<void>) | undefined; readonly sizeBytes: number },
): Store {
  const readOnly = disk.unlock === undefined
  const { checkReadsMs } = options
  const ledger = openLedger(layout, options, (name) => {
    if (isBlobKey(name)) blobs.forget(name)
    return removeEntry(layout, name)
  })
  const facts = openFacts(layout, options, { ledger, diskBytes: disk.sizeBytes, readOnly })
  const closing = new AbortController()
  const scanned = scanStore(layout, closing.signal).then(async (found) => {
    await ledger.load(found)
    if (readOnly) return
    // The limit may be lower than when these were stored.
    const room = await ledger.reserve(0)
    room?.release()
    await facts.count(closing.signal)
  })
  // Heard by whoever awaits `scanned`; this keeps a failed walk from ending the process.
  scanned.catch(() => undefined)

  const opened = new Map<BlobKey, () => void>()

  const blobs = openBlobs(layout, options, { ledger, readOnly })
  const hashes = new HashThread()

  return {
    blobs,
    facts,
    ledger,
    scanned,
    readOnly,
    async openPartial(key, sizeBytes) {
      const name = partialName(key)
      // Pinned before it is opened: an eviction must not take the files from under the opener.
      const unpin = ledger.pin(name)
      try {
        await Promise.all([ledger.removed(name), ledger.removed(key)])
        const isSmall = sizeBytes <= SMALL_BYTES && !ledger.has(name)
        const partial = isSmall
          ? Partial.inMemory(layout, key, sizeBytes)
          : await Partial.open(layout, key, sizeBytes)
        if (checkReadsMs !== undefined && sizeBytes > SMALL_BYTES) partial.sums = new BlockSums(sizeBytes)
        ledger.add(name, partial.map.presentBytes)
        opened.set(key, ledger.pin(name))
        return partial
      } finally {
        unpin()
      }
    },
    settlePartial(key, outcome, sizeBytes) {
      opened.get(key)?.()
      opened.delete(key)
      if (outcome === 'kept') {
        ledger.add(partialName(key), sizeBytes)
        return
      }
      ledger.drop(partialName(key))
      if (outcome === 'committed') ledger.add(key, sizeBytes)
    },
    digestOf: (partial) => hashes.open(partial.dataFile, partial.key, partial.sizeBytes, partial.sums),
    probe: () => (readOnly ? Promise.resolve() : probe(layout)),
    async close() {
      closing.abort()
      await hashes.close()
      await blobs.close()
      await scanned.catch(() => undefined)
      // Whoever takes the directory over must find what was learnt, and no half of a write.
      await facts.close()
      await ledger.settled()
      await disk.unlock?.()
    },
  }
}

async function probe(layout: Layout): Promise<void> {
  const file = path.join(layout.tmp, randomBytes(12).toString('hex'))
  const handle = await createIn(layout.tmp, file)
  try {
    await handle.writeFile('probe')
    await handle.datasync()
  } finally {
    await handle.close()
    await unlink(file)
  }
}

async function removeEntry(layout: Layout, name: string): Promise<void> {
  const partial = name.startsWith('partial:')
  const key = partial ? name.slice('partial:'.length) : name
  if (!isBlobKey(key)) return
  await rm(partial ? layout.partial(key) : layout.blob(key), { recursive: true, force: true })
  if (!partial) await unlinkIfThere(layout.sums(key)).catch(() => undefined)
}
