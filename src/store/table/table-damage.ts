// Opens the table for a mirror, and finds out whether it can be used, after a mirror has ended without closing it: by a damaged
// page, kill -9 or a power cut. Its rows are a cache: the Hub says facts again when files are requested, and sends small files
// again. Larger blobs are still stored then.
//
// After one such end the table is read through. If damage is found, or the next mirror ends in the same way, all rows that can
// be read are copied to a new table: the reading finds not all damage. So a damaged page ends a mirror twice at most.

import { execFile } from 'node:child_process'
import { readFile, rename, rm, stat, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { builtFile } from '../../built-file.ts'
import { ifThere, writeAtomic } from '../atomic.ts'
import { moveToQuarantine } from '../blobs/quarantine.ts'
import type { Layout } from '../layout.ts'
import { UnusableDirectory } from '../prepare.ts'
import type { TableUsage } from './rows.ts'
import { tableFile } from './table.ts'
import { TableThread } from './table-thread.ts'

/** Exit status of the check of a damaged table. */
export const DAMAGED_STATUS = 3
/** What the mark says when the mirror that wrote it had found one. */
const AGAIN = 'again'
const QUARANTINED_NAME = 'facts-data.mdb'
/** What ends a process that reads a page which is not what it should be. */
const DAMAGE_SIGNALS: ReadonlySet<unknown> = new Set([
  'SIGSEGV',
  'SIGBUS',
  'SIGABRT',
  'SIGILL',
  'SIGFPE',
  'SIGTRAP',
])

export interface MirrorTableOptions {
  /** The volume is read-only: the table is used as it is. */
  readonly readOnly: boolean
  /** Called when the table was damaged, and is in quarantine now. What could be read of it is kept. */
  readonly onSetAside?: (() => void) | undefined
  /** From this size on, a file of which more than half is free is copied to a smaller one. */
  readonly compactFromBytes?: number
  /** What the copy has to leave free on the disk. */
  readonly minFreeBytes?: number
}

/** Copying takes some seconds for each of these. Smaller files are not worth it. */
const COMPACT_FROM_BYTES = 256 * 1024 * 1024

/** The table of a running mirror. */
export interface MirrorTable {
  readonly thread: TableThread
  /** Whether the mirror before has not closed the table. */
  readonly wasInUse: boolean
  /** How many bytes of the file are free for later rows. */
  readonly freeBytes: number
  /** Resolves when every change so far has been made or has failed, and the table is closed. */
  close(): Promise<void>
}

/**
 * Opens the table of a store; a damaged one is set aside, and an empty one takes its place. The caller closes it. Rejects with
 * UnusableDirectory, or the error of the disk.
 */
export async function openMirrorTable(layout: Layout, options: MirrorTableOptions): Promise<MirrorTable> {
  const { readOnly, onSetAside } = options
  let wasInUse = false
  if (!readOnly) {
    const found = await repairAfterCrash(layout)
    wasInUse = found !== 'closed'
    if (found === 'set-aside') onSetAside?.()
  }
  const thread = new TableThread({ directory: layout.facts, readOnly })
  const close = async (): Promise<void> => {
    await thread.close()
    if (!readOnly && !thread.sawDamage) await unmarkInUse(layout)
  }
  let usage: TableUsage
  try {
    usage = await thread.open()
    if (!readOnly && (await isWorthCompacting(layout, usage, options))) {
      await thread.close()
      if ((await rebuild(layout, usage.fileBytes)) === 'damaged') onSetAside?.()
      usage = await thread.open()
    }
  } catch (error) {
    await close()
    if (readOnly || !isDamage(error)) throw asUnusable(error)
    await setTableAside(layout)
    onSetAside?.()
    const fresh = await openMirrorTable(layout, options)
    return { ...fresh, wasInUse: true }
  }
  return { thread, wasInUse, freeBytes: Math.max(0, usage.fileBytes - usage.usedBytes), close }
}

async function isWorthCompacting(
  layout: Layout,
  { usedBytes, fileBytes }: TableUsage,
  { compactFromBytes = COMPACT_FROM_BYTES, minFreeBytes = 0 }: MirrorTableOptions,
): Promise<boolean> {
  if (fileBytes < compactFromBytes || usedBytes > fileBytes / 2) return false
  const { bavail, bsize } = await statfs(layout.root)
  // The copy takes a little more than what is used: its pages are not filled in the same way.
  return bavail * bsize - minFreeBytes > 1.5 * usedBytes
}

// The thread passes on names and messages of errors, not their classes.
function isDamage(error: unknown): boolean {
  return error instanceof Error && error.name === 'DamagedTable'
}

const UNUSABLE: ReadonlySet<string> = new Set(['DamagedTable', 'NoDatabase', 'VolumeUnfit', 'SameProcessId'])

function asUnusable(error: unknown): unknown {
  return error instanceof Error && UNUSABLE.has(error.name) ? new UnusableDirectory(error.message) : error
}

/**
 * Makes the table usable if the last mirror has not closed it, and marks it as in use. `closed`: the last mirror has closed it.
 * `sound`: it has not, and nothing was lost. `set-aside`: rows were lost to damage, and the old table is in quarantine.
 */
async function repairAfterCrash(layout: Layout): Promise<'closed' | 'sound' | 'set-aside'> {
  const table = tableFile(layout.facts)
  const [mark, stats] = await Promise.all([
    ifThere(readFile(layout.factsInUse, 'utf8')),
    ifThere(stat(table)),
  ])
  await writeAtomic(layout.tmp, layout.factsInUse, mark === undefined ? '' : AGAIN, { durable: false })
  // Without a table, it may have been lost: what it knew is not known.
  if (mark === undefined && stats !== undefined) return 'closed'
  if (stats === undefined) return 'sound'
  if (mark !== AGAIN && (await run(layout, stats.size)) !== 'damaged') return 'sound'
  const copied = await rebuild(layout, stats.size)
  // The new table is sound. If this mirror, too, ends without closing it, reading it through will do.
  if (copied !== 'failed') await writeAtomic(layout.tmp, layout.factsInUse, '', { durable: false })
  return copied === 'damaged' ? 'set-aside' : 'sound'
}

/**
 * Copies what can be read to a new table, which takes the place of the old one. `damaged`: not all could be read, and the old one is
 * in quarantine. `failed`: the copy could not be made, because the disk is full, say, and the old one stays.
 */
async function rebuild(layout: Layout, sizeBytes: number): Promise<'sound' | 'damaged' | 'failed'> {
  const directory = path.join(layout.tmp, 'table')
  const copied = await run(layout, sizeBytes, directory)
  if (copied === 'damaged') await moveToQuarantine(layout, tableFile(layout.facts), QUARANTINED_NAME)
  if (copied !== 'failed') {
    await ifThere(rename(tableFile(directory), tableFile(layout.facts)))
    await removeLocks(layout)
  }
  await rm(directory, { recursive: true, force: true })
  return copied
}

/** Records that the table was closed and is sound. */
async function unmarkInUse(layout: Layout): Promise<void> {
  await ifThere(unlink(layout.factsInUse))
}

/** Moves the table to quarantine. The next one is empty. */
async function setTableAside(layout: Layout): Promise<void> {
  await moveToQuarantine(layout, tableFile(layout.facts), QUARANTINED_NAME)
  await removeLocks(layout)
}

/** They belong to the table that was there. */
async function removeLocks(layout: Layout): Promise<void> {
  await rm(path.join(layout.facts, 'lock.mdb'), { force: true })
}

/** Pages that lead back to themselves would be read without end. */
const CHECK_AT_LEAST_MS = 60_000
/** Slower than any disk that a mirror can be run on. */
const CHECK_BYTES_PER_MS = 4096

/** Reads the table through in another process, or copies it to `target`. */
function run(layout: Layout, sizeBytes: number, target?: string): Promise<'sound' | 'damaged' | 'failed'> {
  const timeout = CHECK_AT_LEAST_MS + sizeBytes / CHECK_BYTES_PER_MS
  const args = [
    fileURLToPath(builtFile('store/table/table-rescue.js')),
    layout.facts,
    ...(target === undefined ? [] : [target]),
  ]
  return new Promise((resolve) => {
    execFile(process.execPath, args, { timeout }, (error) => {
      if (error === null) return resolve('sound')
      const { code, signal, killed } = error
      const isDamage = code === DAMAGED_STATUS || killed === true || DAMAGE_SIGNALS.has(signal)
      resolve(isDamage ? 'damaged' : 'failed')
    })
  })
}
