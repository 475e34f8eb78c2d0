// The store on a local disk. Opening it takes the lock of the directory, or finds a read-only volume; closing it gives
// the lock back. It wires blobs, partials and facts to one ledger and one table; how each of them uses the disk is their own
// concern.

import { randomBytes } from 'node:crypto'
import { rm, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import type { Observer } from '../telemetry/observer.ts'
import { createIn } from './atomic.ts'
import { SMALL_BYTES } from './blobs/blob-file.ts'
import { type BlobFile, BlobTable } from './blobs/blob-table.ts'
import { DiskBlobs } from './blobs/blobs.ts'
import { BlockSums } from './blobs/block-sums.ts'
import { CheckedReads } from './blobs/checked-reads.ts'
import { HandoffLinks } from './blobs/handoff-links.ts'
import type { Damage } from './damage.ts'
import type { BlobKey } from './digest.ts'
import { DiskFacts } from './facts/facts.ts'
import { DiskGitRepos, isGitName } from './git/git-repos.ts'
import { createLayout, type Layout } from './layout.ts'
import { Ledger, type LedgerOptions } from './ledger.ts'
import { loadKernelLock, lockDirectory } from './lock.ts'
import { HashThread } from './partials/hash-thread.ts'
import { DiskPartial } from './partials/partial.ts'
import type { StoreSmall } from './partials/partial-bytes.ts'
import { parseEntryName, partialName } from './partials/partial-name.ts'
import { checkDirectory, isStore, prepareDirectory, whileUsable, writeRefusal } from './prepare.ts'
import { FACTS_SHARE, type PartialBlob, type Store, type StoreStatus } from './store.ts'
import { type MirrorTable, openMirrorTable } from './table/table-damage.ts'
import { scanStore, sizeOfPartial } from './upkeep/scan.ts'

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
  /** Called when the table was damaged: it is in quarantine, and what can be read of it has been copied. */
  readonly onTableSetAside?: () => void
  /** Called when damage was found in the database while the mirror serves. The next start repairs it. */
  readonly onTableDamage?: () => void
  /** The blobs to keep from eviction from the start: `DiskStore.keep`. */
  readonly kept?: ReadonlySet<BlobKey>
  /** From this size on, a database that was not closed is read through while the mirror serves. */
  readonly largeTableBytes?: number
}

/**
 * `no-kernel-lock`: only the file LOCK keeps a second mirror out. `read-only`: nothing is written. `no-hard-links`: blobs
 * cannot be linked for another process. `network-volume`: only processes of this machine can be kept from damaging the table.
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
      const volume = await whileUsable(layout, () => openVolume(layout, options, { readOnly: true }))
      return new DiskStore(layout, options, { ...volume, unlock: undefined })
    }
  }
  const unlock = await whileUsable(layout, async () =>
    lockDirectory(layout, await loadKernelLock(), (error) => onLimit?.('no-kernel-lock', error)),
  )
  try {
    if (await isNetworkVolume(layout)) onLimit?.('network-volume', undefined)
    const volume = await whileUsable(layout, async () => {
      await prepareDirectory(layout)
      return openVolume(layout, options, { readOnly: false })
    })
    return new DiskStore(layout, options, { ...volume, unlock })
  } catch (error) {
    await unlock().catch(() => undefined)
    throw error
  }
}

/** What another process has removed. Of a blob also what an unfinished download had left. */
export interface RemovedEntries {
  readonly blobs: readonly { readonly key: BlobKey; readonly sizeBytes: number }[]
  readonly gits: readonly string[]
}

/** Opens the table and the facts in it. */
async function openVolume(
  layout: Layout,
  options: StoreOptions,
  { readOnly }: { readonly readOnly: boolean },
): Promise<Omit<Volume, 'unlock'>> {
  const table = await openMirrorTable(layout, {
    readOnly,
    onSetAside: options.onTableSetAside,
    onDamage: options.onTableDamage,
    ...(options.largeTableBytes === undefined ? {} : { largeBytes: options.largeTableBytes }),
    minFreeBytes: options.minFreeBytes,
  })
  try {
    const facts = await openFacts(layout, table, options, {
      diskBytes: readOnly ? 0 : await diskBytes(layout),
      readOnly,
    })
    return { table, facts }
  } catch (error) {
    await table.close()
    throw error
  }
}

interface Volume {
  /** Gives the lock back. Undefined when the volume is read-only, and no lock is held. */
  readonly unlock: (() => Promise<void>) | undefined
  readonly table: MirrorTable
  readonly facts: DiskFacts
}

export class DiskStore implements Store {
  readonly blobs: DiskBlobs
  /** What the table holds of blobs. */
  readonly smallBlobs: BlobTable
  readonly facts: DiskFacts
  readonly git: DiskGitRepos
  readonly ledger: Ledger
  readonly scanned: Promise<void>
  readonly readOnly: boolean
  readonly #layout: Layout
  readonly #table: MirrorTable
  readonly #unlock: Volume['unlock']
  readonly #keepsSums: boolean
  readonly #hashes = new HashThread()
  readonly #closing = new AbortController()
  /** Small blobs of an earlier version, which the scan has found in files. */
  #smallFiles: BlobFile[] = []
  /** Resolves when the facts and small blobs of an earlier version have been moved. */
  readonly #adopted: Promise<void>

  constructor(layout: Layout, options: StoreOptions, volume: Volume) {
    this.#layout = layout
    this.#unlock = volume.unlock
    this.#table = volume.table
    this.#keepsSums = options.checkReadsMs !== undefined
    this.readOnly = volume.unlock === undefined
    this.ledger = openLedger(layout, options, {
      tableRoomBytes: volume.table.freeBytes,
      remove: (name) => this.#removeEntry(name),
    })
    const { ledger, readOnly } = this
    const { now, onTrouble } = options
    if (options.kept !== undefined) this.keep(options.kept)
    this.smallBlobs = new BlobTable({ layout, table: volume.table.thread, now, readOnly, onTrouble })
    this.facts = volume.facts
    this.facts.watch((bytes) => {
      ledger.factBytes = bytes
    })
    this.git = new DiskGitRepos(layout, ledger, { readOnly })
    this.blobs = openBlobs(layout, options, { ledger, table: this.smallBlobs, readOnly })
    this.scanned = this.#scan()
    // A failed scan rejects `scanned` for those who await it; it must not end the process.
    this.scanned
      .catch(() => undefined)
      .finally(() => {
        if (!this.#closing.signal.aborted) this.#table.readThrough()
      })
    this.#adopted = readOnly ? Promise.resolve() : this.#adopt()
    this.#adopted.catch((error: unknown) => options.onTrouble?.(error))
  }

  async #scan(): Promise<void> {
    const { signal } = this.#closing
    const isComplete = (await this.smallBlobs.takeComplete()) && !this.#table.wasInUse
    const found = await scanStore(this.#layout, this.smallBlobs.rows(), {
      isComplete,
      signal,
      others: this.git.scan(),
    })
    await this.ledger.load(found.entries)
    this.#smallFiles = found.smallFiles
    if (this.readOnly) return
    await this.smallBlobs.complete(found.changes, this.ledger, signal)
    // The limit may be lower than it was when these were stored.
    const room = await this.ledger.reserve(0)
    room?.release()
    await this.facts.fit()
  }

  /** Moves what earlier versions have left in files into the table. */
  async #adopt(): Promise<void> {
    const { signal } = this.#closing
    await this.facts.adopt(signal)
    await this.scanned
    await this.smallBlobs.adopt(this.#smallFiles.splice(0), this.ledger, signal)
  }

  async beginPartial(key: BlobKey, sizeBytes: number): Promise<PartialBlob> {
    const { ledger } = this
    const name = partialName(key)
    // Pinned before it is opened: an eviction must not take the files away meanwhile.
    const unpin = ledger.pin(name)
    try {
      await Promise.all([ledger.removed(name), ledger.removed(key)])
      if (sizeBytes <= SMALL_BYTES) {
        // Earlier versions kept partials this small.
        if (ledger.has(name)) await this.#removePartial(key)
        const store: StoreSmall = (...small) => this.blobs.store(...small)
        return DiskPartial.inMemory(this.#layout, key, sizeBytes, { ledger, store })
      }
      const sums = this.#keepsSums ? new BlockSums(sizeBytes) : undefined
      const onFile = (...file: [BlobKey, number]): void => this.smallBlobs.noteFile(...file)
      return await DiskPartial.open(this.#layout, key, sizeBytes, {
        ledger,
        hashes: this.#hashes,
        sums,
        onFile,
      })
    } finally {
      unpin()
    }
  }

  async partialBytes(key: BlobKey): Promise<number> {
    const counted = this.ledger.sizeOf(partialName(key))
    return counted ?? (await sizeOfPartial(this.#layout.partial(key)))?.sizeBytes ?? 0
  }

  /**
   * Keeps these blobs, and what has arrived of them, from eviction until the next call. The caller may only add to the set, and
   * calls `keepAlso` then.
   */
  keep(keys: ReadonlySet<BlobKey>): void {
    this.ledger.keep((name) => {
      const entry = keys.size === 0 ? undefined : parseEntryName(name)
      return entry !== undefined && keys.has(entry.key)
    })
  }

  /** Keeps these as well, which the caller has added to the set of `keep`. */
  keepAlso(keys: readonly BlobKey[]): void {
    this.ledger.keepAlso(keys)
    this.ledger.keepAlso(keys.map((key) => partialName(key)))
  }

  /**
   * Another process has removed these, and facts: what is in memory of them is dropped. `gits` are owners of git repositories. Never
   * rejects.
   */
  async removedBeside({ blobs, gits }: RemovedEntries): Promise<void> {
    for (const { key, sizeBytes } of blobs) {
      await this.blobs.lookAgain(key, sizeBytes)
      const name = partialName(key)
      if (!this.ledger.has(name) || this.ledger.isPinned(name)) continue
      const partial = await sizeOfPartial(this.#layout.partial(key)).catch(() => ({}))
      if (partial === undefined) this.ledger.drop(name)
    }
    for (const owner of gits) await this.git.lookAgain(owner).catch(() => undefined)
    this.facts.forget()
  }

  status(): StoreStatus {
    return this.ledger.status()
  }

  isHeld(key: BlobKey): boolean {
    return this.ledger.isHeld(key)
  }

  async hasRoom(bytes: number, keptBytes: number, smallBytes: number): Promise<boolean> {
    // Before that, what could be evicted is not known.
    await this.scanned
    return this.ledger.hasRoom(bytes, keptBytes, smallBytes)
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
    await this.ledger.settled()
    // The next owner of the directory must find all facts and rows, and no write under way.
    await this.facts.close()
    await this.smallBlobs.close()
    await this.#table.close()
    await this.#unlock?.()
  }

  /** Removes the bytes of an entry of the ledger that is being evicted. */
  async #removeEntry(name: string): Promise<void> {
    if (isGitName(name)) return this.git.removeNamed(name)
    const entry = parseEntryName(name)
    if (entry === undefined) return
    if (entry.isPartial) await this.#removePartial(entry.key)
    else await this.blobs.evict(entry.key)
  }

  async #removePartial(key: BlobKey): Promise<void> {
    await rm(this.#layout.partial(key), { recursive: true, force: true })
    this.ledger.drop(partialName(key))
  }
}

/** Facts may take FACTS_SHARE of the store, and at least this: in a small store, or when the size of the disk is unknown. */
const FACTS_AT_LEAST_BYTES = 1024 * 1024

function openFacts(
  layout: Layout,
  table: MirrorTable,
  options: StoreOptions,
  /** `diskBytes` is 0 when it is unknown. */
  volume: { readonly diskBytes: number; readonly readOnly: boolean },
): Promise<DiskFacts> {
  const { memoryBytes, now, onTrouble } = options
  return DiskFacts.open(layout, table.thread, {
    memoryBytes: memoryBytes / 2,
    get maxBytes() {
      return Math.max(FACTS_AT_LEAST_BYTES, (options.maxBytes ?? volume.diskBytes) * FACTS_SHARE)
    },
    shortBytes: async () => Math.max(0, options.minFreeBytes - (await freeBytes(layout))),
    now,
    readOnly: volume.readOnly,
    ...(onTrouble === undefined ? {} : { onTrouble }),
  })
}

function openBlobs(
  layout: Layout,
  options: StoreOptions,
  {
    ledger,
    table,
    readOnly,
  }: { readonly ledger: Ledger; readonly table: BlobTable; readonly readOnly: boolean },
): DiskBlobs {
  const { checkReadsMs: trustMs, monotonic = () => performance.now(), onLimit } = options
  const links =
    options.makesLinks === true && !readOnly
      ? new HandoffLinks({ layout, ledger, onRefused: (error) => onLimit?.('no-hard-links', error) })
      : undefined
  return new DiskBlobs({
    layout,
    ledger,
    table,
    readOnly,
    memoryBytes: options.memoryBytes / 2,
    now: options.now,
    observer: options.observer,
    checks: trustMs === undefined ? undefined : new CheckedReads({ layout, trustMs, monotonic }),
    links,
    onDamaged: options.onDamaged,
  })
}

function openLedger(
  layout: Layout,
  options: StoreOptions,
  { tableRoomBytes, remove }: Pick<LedgerOptions, 'remove'> & { readonly tableRoomBytes: number },
): Ledger {
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
    tableRoomBytes,
    isGit: isGitName,
    isFile: (name, sizeBytes) =>
      sizeBytes > SMALL_BYTES || isGitName(name) || parseEntryName(name)?.isPartial === true,
    ...(onTrouble === undefined ? {} : { onTrouble }),
  })
}

// statfs(2): NFS, SMB 1 and 2, CIFS, AFS, Ceph, 9P, Lustre, GPFS, BeeGFS, GFS2, OCFS2. FUSE, too: its type does not say whether
// a network or another machine is behind it (GlusterFS, SSHFS, virtiofs).
const NETWORK_VOLUMES: ReadonlySet<number> = new Set([
  0x6969, 0x517b, 0xfe534d42, 0xff534d42, 0x5346414f, 0x00c36400, 0x01021997, 0x0bd00bd0, 0x47504653,
  0x19830326, 0x01161970, 0x7461636f, 0x65735546,
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
