// The disk as the other rooms see it: blobs, partials, facts and the books over them. Opening it takes the lock.

import { lstat, mkdir, readdir, readFile, rm, statfs, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Observer } from '../telemetry/observer.ts'
import { isMissing } from './atomic.ts'
import { Blobs } from './blobs.ts'
import { type BlobKey, isBlobKey } from './digest.ts'
import { createFacts, type Facts } from './facts.ts'
import { createLayout, type Layout } from './layout.ts'
import { Ledger } from './ledger.ts'
import { lockDirectory } from './lock.ts'
import { Partial } from './partial.ts'
import { partialName, scanStore } from './scan.ts'

const FORMAT = 'hubmirror 1\n'
const CACHEDIR_TAG =
  'Signature: 8a477f597d28d172789f06886806bc55\n# This directory is a cache of hubmirror.\n'

export interface Store {
  readonly blobs: Blobs
  readonly facts: Facts
  readonly ledger: Ledger
  /** Opens or resumes the unfinished blob of `key`; the caller releases it. */
  openPartial(key: BlobKey, sizeBytes: number): Promise<Partial>
  /** Enters a committed partial as a blob, or an ended one by what it occupies. */
  settlePartial(key: BlobKey, outcome: 'committed' | 'kept' | 'gone', sizeBytes: number): void
  /** Resolves when the walk at start has entered everything; rejects when the walk failed. */
  readonly scanned: Promise<void>
  /** Tries to write and to sync, as a readiness check does. Throws what the disk says. */
  probe(): Promise<void>
  close(): Promise<void>
}

/** The directory cannot be used as a store; the message says why and what to do. */
export class UnusableDirectory extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'UnusableDirectory'
  }
}

/** Opens the store below `root`, making it where there is none. Throws DirectoryInUse or UnusableDirectory. */
export async function openStore(options: {
  readonly root: string
  readonly maxBytes: number | undefined
  readonly minFreeBytes: number
  readonly memoryBytes: number
  readonly now: () => number
  readonly observer: Observer
}): Promise<Store> {
  const layout = createLayout(options.root)
  await prepare(layout)
  const unlock = await lockDirectory(layout)
  // Only the holder of the lock may sweep: these files belong to no running process now.
  await rm(layout.tmp, { recursive: true, force: true })
  await mkdir(layout.tmp, { mode: 0o700 })
  const ledger = new Ledger({
    maxBytes: options.maxBytes,
    minFreeBytes: options.minFreeBytes,
    now: options.now,
    observer: options.observer,
    async freeBytes() {
      const { bavail, bsize } = await statfs(layout.root)
      return bavail * bsize
    },
    remove: (name) => removeEntry(layout, name),
  })
  const closing = new AbortController()
  const scanned = scanStore(layout, closing.signal).then((found) => ledger.load(found))
  // Heard by whoever awaits `scanned`; this keeps a failed walk from ending the process.
  scanned.catch(() => undefined)

  const facts = createFacts(layout, { memoryBytes: options.memoryBytes })

  return {
    blobs: new Blobs(layout, ledger, options.now),
    facts,
    ledger,
    scanned,
    async openPartial(key, sizeBytes) {
      const partial = await Partial.open(layout, key, sizeBytes)
      ledger.add(partialName(key), partial.map.presentBytes)
      return partial
    },
    settlePartial(key, outcome, sizeBytes) {
      if (outcome === 'kept') {
        ledger.add(partialName(key), sizeBytes)
        return
      }
      ledger.drop(partialName(key))
      if (outcome === 'committed') ledger.add(key, sizeBytes)
    },
    async probe() {
      const file = path.join(layout.tmp, 'probe')
      await writeFile(file, 'probe', { flush: true })
      await rm(file)
    },
    async close() {
      closing.abort()
      await scanned.catch(() => undefined)
      // Whoever takes the directory over must find what was learnt, and no half of a write.
      await facts.settled()
      await unlock()
    },
  }
}

async function prepare(layout: Layout): Promise<void> {
  try {
    await mkdir(layout.root, { recursive: true, mode: 0o700 })
    await checkOwner(layout)
    const format = await readFile(layout.format, 'utf8').catch((error: unknown) => {
      if (isMissing(error)) return undefined
      throw error
    })
    if (format === undefined) await checkEmpty(layout)
    else if (format !== FORMAT) {
      const found = JSON.stringify(format.slice(0, 40))
      throw new UnusableDirectory(
        `${layout.root} was written by another version (format ${found}; this one knows ${JSON.stringify(FORMAT)}). ` +
          'Use that version, or another HUBMIRROR_CACHE_DIR.',
      )
    }
    for (const directory of [layout.blobs, layout.partials, layout.facts, layout.tmp]) {
      await mkdir(directory, { recursive: true, mode: 0o700 })
    }
    if (format === undefined) {
      await writeFile(layout.cacheDirTag, CACHEDIR_TAG)
      await writeFile(layout.format, FORMAT)
    }
  } catch (error) {
    if (error instanceof UnusableDirectory) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new UnusableDirectory(
      `${layout.root} cannot be used as HUBMIRROR_CACHE_DIR: ${reason}. Check that it exists and is writable.`,
    )
  }
}

async function checkOwner(layout: Layout): Promise<void> {
  const stats = await lstat(layout.root)
  const user = process.getuid?.()
  if (user !== undefined && stats.uid !== user && user !== 0) {
    throw new UnusableDirectory(
      `${layout.root} belongs to user ${stats.uid}, not to ${user}. Give it to the mirror.`,
    )
  }
  if ((stats.mode & 0o002) !== 0 && (stats.mode & 0o1000) === 0) {
    throw new UnusableDirectory(`Everybody may write to ${layout.root}. Take that right away (chmod o-w).`)
  }
}

async function checkEmpty(layout: Layout): Promise<void> {
  const foreign = (await readdir(layout.root)).filter((name) => name !== 'lost+found' && name !== 'LOCK')
  if (foreign.length > 0) {
    throw new UnusableDirectory(
      `${layout.root} holds other files and is no store of hubmirror. Choose an empty HUBMIRROR_CACHE_DIR.`,
    )
  }
}

async function removeEntry(layout: Layout, name: string): Promise<void> {
  const partial = name.startsWith('partial:')
  const key = partial ? name.slice('partial:'.length) : name
  if (!isBlobKey(key)) return
  await rm(partial ? layout.partial(key) : layout.blob(key), { recursive: true, force: true })
}
