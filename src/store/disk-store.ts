// The store on a local disk. Opening it takes the lock of the directory, or finds a read-only volume; closing it gives
// the lock back. It wires blobs, partials and facts to one ledger; how each of them uses the disk is their own concern.

import { randomBytes } from 'node:crypto'
import { rm, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import type { Observer } from '../telemetry/observer.ts'
import { createIn, unlinkIfThere } from './atomic.ts'
import { SMALL_BYTES } from './blobs/blob-file.ts'
import { DiskBlobs } from './blobs/blobs.ts'
import { BlockSums } from './blobs/block-sums.ts'
import { CheckedReads } from './blobs/checked-reads.ts'
import { HandoffLinks } from './blobs/handoff-links.ts'
import type { Damage } from './damage.ts'
import type { BlobKey } from './digest.ts'
import { type DiskFacts, openFacts } from './facts/facts.ts'
import { createLayout, type Layout } from './layout.ts'
import { Ledger } from './ledger.ts'
import { loadKernelLock, lockDirectory } from './lock.ts'
import { HashThread } from './partials/hash-thread.ts'
import { DiskPartial } from './partials/partial.ts'
import { parseEntryName, partialName } from './partials/partial-name.ts'
import { checkDirectory, isStore, prepareDirectory, whileUsable, writeRefusal } from './prepare.ts'
import type { PartialBlob, Store, StoreStatus } from './store.ts'
import { scanStore } from './upkeep/scan.ts'

export interface StoreOptions {
  readonly root: string
  /** This and `minFreeBytes` are read at each use: they may change, and the caller calls `fit` then. */
  readonly maxBytes: number | undefined
  /** Bytes of the volume that are always left free. */
  readonly minFreeBytes: number
  /** Bound of the memory for small blobs and facts, half for each. */
  readonly memoryBytes: number
  /** Epoch milliseconds, for stamps that are stored. */
  readonly now: () => number
  readonly observer: Observer
  /**
   * Keeps checksums of the blocks of each blob of more than 64 KiB, and compares reads with them. A block that was found
   * right is trusted for this long; 0 checks each read. Undefined: no checksums are kept or compared.
   */
  readonly checkReadsMs?: number | undefined
  /** Milliseconds that never step back. */
  readonly monotonic?: () => number
  /** Makes links to blobs on demand, for another process that sends them: `BlobHandle.link`. Not on a read-only volume. */
  readonly makesLinks?: boolean
  /** Called when a read found a blob damaged, and it has been taken out of the store. */
  readonly onDamaged?: (damage: Damage) => void
  /** Called with errors of the disk at work for which no request waits. */
  readonly onTrouble?: (error: unknown) => void
  /** A store on a read-only volume is acceptable: the mirror is offline, so that nothing will be stored. */
  readonly mayBeReadOnly?: boolean
  /** Called once for each optional ability that the volume lacks, and without which the store works. */
  readonly onLimit?: (limit: VolumeLimit, error: unknown) => void
  /** Called when the facts were damaged: they are in quarantine, and those that can be read have been copied. */
  readonly onFactsSetAside?: () => void
}

/**
 * `no-kernel-lock`: only the file LOCK keeps a second mirror out. `read-only`: nothing is written. `no-hard-links`: blobs
 * cannot be linked for another process. `network-volume`: only processes of this machine can be kept from damaging the facts.
 */
export type VolumeLimit = 'no-kernel-lock' | 'read-only' | 'no-hard-links' | 'network-volume'

/**
 * Opens the store below `root`, and makes it where there is none. Throws DirectoryInUse, LocksUnsupported or
 * UnusableDirectory. The caller closes it.
 */
export async function openStore(options: StoreOptions): Promise<DiskStore> {
  const layout = createLayout(options.root)
  const { onLimit } = options
  await whileUsable(layout, () => checkDirectory(layout))
  if (options.mayBeReadOnly === true) {
    const refusal = await writeRefusal(layout)
    if (refusal !== undefined && (await isStore(layout))) {
      onLimit?.('read-only', refusal)
      const facts = await whileUsable(layout, () =>
        factsOf(layout, options, { diskBytes: 0, readOnly: true }),
      )
      return new DiskStore(layout, options, { unlock: undefined, facts })
    }
  }
  const unlock = await whileUsable(layout, async () =>
    lockDirectory(layout, await loadKernelLock(), (error) => onLimit?.('no-kernel-lock', error)),
  )
  try {
    if (await isNetworkVolume(layout)) onLimit?.('network-volume', undefined)
    const facts = await whileUsable(layout, async () => {
      await prepareDirectory(layout)
      return factsOf(layout, options, { diskBytes: await diskBytes(layout), readOnly: false })
    })
    return new DiskStore(layout, options, { unlock, facts })
  } catch (error) {
    await unlock().catch(() => undefined)
    throw error
  }
}

interface Volume {
  /** Gives the lock back. Undefined when the volume is read-only, and no lock is held. */
  readonly unlock: (() => Promise<void>) | undefined
  readonly facts: DiskFacts
}

export class DiskStore implements Store {
  readonly blobs: DiskBlobs
  readonly facts: DiskFacts
  readonly ledger: Ledger
  readonly scanned: Promise<void>
  readonly readOnly: boolean
  readonly #layout: Layout
  readonly #unlock: Volume['unlock']
  readonly #keepsSums: boolean
  readonly #hashes = new HashThread()
  readonly #closing = new AbortController()
  /** Resolves when the facts of an earlier version have been moved. */
  readonly #adopted: Promise<void>

  constructor(layout: Layout, options: StoreOptions, volume: Volume) {
    this.#layout = layout
    this.#unlock = volume.unlock
    this.#keepsSums = options.checkReadsMs !== undefined
    this.readOnly = volume.unlock === undefined
    this.ledger = openLedger(layout, options, (name) => this.#removeEntry(name))
    const { ledger, readOnly } = this
    this.facts = volume.facts
    this.facts.watch((bytes) => {
      ledger.factBytes = bytes
    })
    this.blobs = openBlobs(layout, options, { ledger, readOnly })
    this.scanned = this.#scan()
    // A failed scan rejects `scanned` for those who await it; it must not end the process.
    this.scanned.catch(() => undefined)
    this.#adopted = readOnly ? Promise.resolve() : this.facts.adopt(this.#closing.signal)
    this.#adopted.catch((error: unknown) => options.onTrouble?.(error))
  }

  async #scan(): Promise<void> {
    await this.ledger.load(await scanStore(this.#layout, this.#closing.signal))
    if (this.readOnly) return
    // The limit may be lower than it was when these were stored.
    const room = await this.ledger.reserve(0)
    room?.release()
    await this.facts.fit()
  }

  async beginPartial(key: BlobKey, sizeBytes: number): Promise<PartialBlob> {
    const { ledger } = this
    const name = partialName(key)
    // Pinned before it is opened: an eviction must not take the files away meanwhile.
    const unpin = ledger.pin(name)
    try {
      await Promise.all([ledger.removed(name), ledger.removed(key)])
      const isLarge = sizeBytes > SMALL_BYTES
      const sums = this.#keepsSums && isLarge ? new BlockSums(sizeBytes) : undefined
      const parts = { ledger, hashes: this.#hashes, sums }
      // A small one that an earlier process left on the disk is resumed there.
      if (!isLarge && !ledger.has(name)) return DiskPartial.inMemory(this.#layout, key, sizeBytes, parts)
      return await DiskPartial.open(this.#layout, key, sizeBytes, parts)
    } finally {
      unpin()
    }
  }

  status(): StoreStatus {
    return this.ledger.status()
  }

  async fit(): Promise<void> {
    if (!this.readOnly) await this.ledger.fit()
  }

  async probe(): Promise<void> {
    if (this.readOnly) return
    const { tmp } = this.#layout
    const file = path.join(tmp, randomBytes(12).toString('hex'))
    const handle = await createIn(tmp, file)
    try {
      await handle.writeFile('probe')
      await handle.datasync()
    } finally {
      await handle.close()
      await unlink(file)
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#hashes.close()
    await this.blobs.close()
    await Promise.allSettled([this.scanned, this.#adopted])
    // The next owner of the directory must find all facts, and no write under way.
    await this.facts.close()
    await this.ledger.settled()
    await this.#unlock?.()
  }

  /** Removes the bytes of an entry of the ledger that is being evicted. */
  async #removeEntry(name: string): Promise<void> {
    const entry = parseEntryName(name)
    if (entry === undefined) return
    const { key, isPartial } = entry
    if (!isPartial) this.blobs.invalidate(key)
    await rm(isPartial ? this.#layout.partial(key) : this.#layout.blob(key), { recursive: true, force: true })
    if (!isPartial) await unlinkIfThere(this.#layout.sums(key)).catch(() => undefined)
  }
}

/** Facts may take a twentieth of the store, and at least this: in a small store, or when the size of the disk is unknown. */
const FACTS_AT_LEAST_BYTES = 1024 * 1024

function factsOf(
  layout: Layout,
  options: StoreOptions,
  /** `diskBytes` is 0 when it is unknown. */
  volume: { readonly diskBytes: number; readonly readOnly: boolean },
): Promise<DiskFacts> {
  const { memoryBytes, now, onTrouble, onFactsSetAside: onSetAside } = options
  return openFacts(layout, {
    memoryBytes: memoryBytes / 2,
    get maxBytes() {
      return Math.max(FACTS_AT_LEAST_BYTES, (options.maxBytes ?? volume.diskBytes) / 20)
    },
    shortBytes: async () => Math.max(0, options.minFreeBytes - (await freeBytes(layout))),
    now,
    readOnly: volume.readOnly,
    ...(onSetAside === undefined ? {} : { onSetAside }),
    ...(onTrouble === undefined ? {} : { onTrouble }),
  })
}

function openBlobs(
  layout: Layout,
  options: StoreOptions,
  { ledger, readOnly }: { readonly ledger: Ledger; readonly readOnly: boolean },
): DiskBlobs {
  const { checkReadsMs: trustMs, monotonic = () => performance.now(), onLimit } = options
  const links =
    options.makesLinks === true && !readOnly
      ? new HandoffLinks({ layout, ledger, onRefused: (error) => onLimit?.('no-hard-links', error) })
      : undefined
  return new DiskBlobs({
    layout,
    ledger,
    readOnly,
    memoryBytes: options.memoryBytes / 2,
    now: options.now,
    observer: options.observer,
    checks: trustMs === undefined ? undefined : new CheckedReads({ layout, trustMs, monotonic }),
    links,
    onDamaged: options.onDamaged,
  })
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

// statfs(2): NFS, SMB 1 and 2, CIFS, AFS, Ceph, 9P, Lustre, GPFS, BeeGFS.
const NETWORK_VOLUMES: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x5346414f, 0x00c36400, 0x01021997, 0x0bd00bd0, 0x47504653,
  0x19830326,
])

async function isNetworkVolume(layout: Layout): Promise<boolean> {
  const volume = await statfs(layout.root).catch(() => undefined)
  return volume !== undefined && NETWORK_VOLUMES.has(volume.type)
}

async function freeBytes(layout: Layout): Promise<number> {
  const { bavail, bsize } = await statfs(layout.root)
  return bavail * bsize
}

async function diskBytes(layout: Layout): Promise<number> {
  const { blocks, bsize } = await statfs(layout.root).catch(() => ({ blocks: 0, bsize: 0 }))
  return blocks * bsize
}
