// Opens the table for a mirror, and finds out whether it can be used, after a mirror has ended without closing it: by a damaged
// page, kill -9 or a power cut. Its rows are a cache: the Hub says facts again when files are requested, and sends small files
// again. Larger blobs are still stored then.
//
// After one such end the table is read through. If damage is found, or the next mirror ends in the same way, all rows that can
// be read are copied to a new table: the reading finds not all damage. So a damaged page ends a mirror twice at most. A large
// table is read through while the mirror serves, since it would delay the start for minutes, and copied one end later.

import { type ChildProcess, execFile } from 'node:child_process'
import { readFile, rename, rm, stat, statfs, unlink } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { builtFile } from '../../built-file.ts'
import { yieldToOthers } from '../../low-priority.ts'
import { ifThere, writeAtomic } from '../atomic.ts'
import { moveToQuarantine } from '../blobs/quarantine.ts'
import type { Layout } from '../layout.ts'
import { UnusableDirectory } from '../prepare.ts'
import type { TableUsage } from './rows.ts'
import { tableFile } from './table.ts'
import { isDamage } from './table-errors.ts'
import { TableThread } from './table-thread.ts'

/** Exit status of the check of a damaged table. */
export const DAMAGED_STATUS = 3
/** What the mark says when damage was found and not repaired yet. Otherwise it says how many mirrors in a row had ended before. */
const DAMAGED = 'damaged'
/** Of mirrors in a row that have not closed the table: after so many, it is copied. */
const COPY_AFTER = { small: 2, large: 3 } as const
/** From this size on, a table is large: to read it through takes seconds. */
const LARGE_BYTES = 64 * 1024 * 1024
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
  /** Called when damage was found while the mirror serves. The next start repairs it. */
  readonly onDamage?: (() => void) | undefined
  /** From this size on, the table is not read through before the mirror serves. */
  readonly largeBytes?: number
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
  /**
   * Reads a large table through in the background, where no start has done it since a mirror ended without closing it. It is called
   * once, when what the start itself needs of the table has been read.
   */
  readThrough(): void
  /** Resolves when every change so far has been made or has failed, and the table is closed. */
  close(): Promise<void>
}

/**
 * Opens the table of a store; a damaged one is set aside, and an empty one takes its place. The caller closes it. Rejects with
 * UnusableDirectory, or the error of the disk.
 */
export async function openMirrorTable(layout: Layout, options: MirrorTableOptions): Promise<MirrorTable> {
  const { readOnly, onSetAside } = options
  const found = readOnly ? 'closed' : await repairAfterCrash(layout, options)
  const wasInUse = found !== 'closed'
  if (found === 'set-aside') onSetAside?.()
  const thread = new TableThread({ directory: layout.facts, readOnly })
  let check: Check | undefined
  const close = async (): Promise<void> => {
    const hasFoundDamage = (await check?.end()) === true
    await thread.close()
    if (!readOnly && !thread.sawDamage && !hasFoundDamage) await unmarkInUse(layout)
  }
  let usage: TableUsage
  try {
    usage = await thread.open()
    if (!readOnly && (await isWorthCompacting(layout, usage, options))) {
      await thread.close()
      await compact(layout, usage.fileBytes)
      usage = await thread.open()
    }
  } catch (error) {
    await close()
    if (readOnly || !isDamage(error)) throw asUnusable(error)
    if (await isCutOnly(layout, error)) return openMirrorTable(layout, options)
    await setTableAside(layout)
    onSetAside?.()
    const fresh = await openMirrorTable(layout, options)
    return { ...fresh, wasInUse: true }
  }
  const readThrough = (): void => {
    if (found === 'unread') check = new Check(layout, usage.fileBytes, options.onDamage)
  }
  const freeBytes = Math.max(0, usage.fileBytes - usage.usedBytes)
  return { thread, wasInUse, freeBytes, readThrough, close }
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

/**
 * Whether the file was only cut, and all rows can be read in spite of it. It has its length again then. A crash right after a
 * commit can leave it so: see Table.
 */
async function isCutOnly(layout: Layout, error: unknown): Promise<boolean> {
  if (!(error instanceof Error) || error.name !== 'CutTable') return false
  const { size } = await stat(tableFile(layout.facts))
  return (await run(layout, size, 'check')) === 'sound'
}

const UNUSABLE: ReadonlySet<string> = new Set([
  'DamagedTable',
  'CutTable',
  'NoDatabase',
  'VolumeUnfit',
  'SameProcessId',
])

function asUnusable(error: unknown): unknown {
  return error instanceof Error && UNUSABLE.has(error.name) ? new UnusableDirectory(error.message) : error
}

/**
 * Makes the table usable if the last mirror has not closed it, and marks it as in use. `closed`: the last mirror has closed it.
 * `sound`: it has not, and nothing was lost. `unread`: the same of a large table, which is still to be read through.
 * `set-aside`: rows were lost to damage, and the old table is in quarantine.
 */
async function repairAfterCrash(
  layout: Layout,
  { largeBytes = LARGE_BYTES }: MirrorTableOptions,
): Promise<'closed' | 'sound' | 'unread' | 'set-aside'> {
  const table = tableFile(layout.facts)
  const [mark, stats] = await Promise.all([
    ifThere(readFile(layout.factsInUse, 'utf8')),
    ifThere(stat(table)),
  ])
  const ends = endsOf(mark)
  await setMark(layout, mark === DAMAGED ? DAMAGED : String(ends))
  // Without a table, it may have been lost: what it knew is not known.
  if (mark === undefined && stats !== undefined) return 'closed'
  if (stats === undefined) return 'sound'
  const isLarge = stats.size >= largeBytes
  if (mark !== DAMAGED && ends < COPY_AFTER[isLarge ? 'large' : 'small']) {
    if (isLarge) return 'unread'
    if ((await run(layout, stats.size, 'check')) !== 'damaged') return 'sound'
  }
  const copied = await rebuild(layout, stats.size)
  // The new table is sound. If this mirror, too, ends without closing it, reading it through will do.
  if (copied !== 'failed') await setMark(layout, '0')
  return copied === 'damaged' ? 'set-aside' : 'sound'
}

/** How many mirrors in a row have not closed the table. Earlier builds wrote nothing for none before, and `again` for one. */
function endsOf(mark: string | undefined): number {
  if (mark === undefined) return 0
  const before = mark === 'again' ? 1 : Number(mark)
  return (Number.isSafeInteger(before) && before >= 0 ? before : 0) + 1
}

/** Says that the table is in use. */
async function setMark(layout: Layout, text: string): Promise<void> {
  await writeAtomic(layout.tmp, layout.factsInUse, text, { durable: false })
}

/** Reads the table through beside the mirror that uses it. */
class Check {
  #child: ChildProcess | undefined
  readonly #hasFoundDamage: Promise<boolean>

  constructor(layout: Layout, sizeBytes: number, onDamage: (() => void) | undefined) {
    const started = (child: ChildProcess): void => {
      this.#child = child
      // Requests come first.
      if (child.pid !== undefined) yieldToOthers(child.pid)
    }
    this.#hasFoundDamage = run(layout, sizeBytes, 'check-beside', { started }).then(async (found) => {
      if (found !== 'damaged') return false
      await setMark(layout, DAMAGED).catch(() => undefined)
      onDamage?.()
      return true
    })
  }

  /** Ends the reading. Resolves with whether damage was found: what was not read through is not judged. */
  end(): Promise<boolean> {
    this.#child?.kill('SIGTERM')
    return this.#hasFoundDamage
  }
}

/** Copies the table to a smaller file, which takes its place. The table stays as it is if that fails. */
async function compact(layout: Layout, sizeBytes: number): Promise<void> {
  const directory = path.join(layout.tmp, 'table')
  if ((await run(layout, sizeBytes, 'compact', { target: directory })) === 'sound') {
    await rename(tableFile(directory), tableFile(layout.facts))
    await removeLocks(layout)
  }
  await rm(directory, { recursive: true, force: true })
}

/**
 * Copies what can be read to a new table, which takes the place of the old one. `damaged`: not all could be read, and the old one is
 * in quarantine. `failed`: the copy could not be made, because the disk is full, say, and the old one stays.
 */
async function rebuild(layout: Layout, sizeBytes: number): Promise<'sound' | 'damaged' | 'failed'> {
  const directory = path.join(layout.tmp, 'table')
  const copied = await run(layout, sizeBytes, 'copy', { target: directory })
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

export type Rescue = 'check' | 'check-beside' | 'copy' | 'compact'

/** Does a work of table-rescue.ts in another process. `target` is the folder of the new table, where one is made. */
function run(
  layout: Layout,
  sizeBytes: number,
  work: Rescue,
  { target, started }: { readonly target?: string; readonly started?: (child: ChildProcess) => void } = {},
): Promise<'sound' | 'damaged' | 'failed'> {
  const timeout = CHECK_AT_LEAST_MS + sizeBytes / CHECK_BYTES_PER_MS
  const args = [
    fileURLToPath(builtFile('store/table/table-rescue.js')),
    work,
    layout.facts,
    ...(target === undefined ? [] : [target]),
  ]
  return new Promise((resolve) => {
    // Of a reading that the mirror ends, or that takes too long beside requests, nothing is known.
    const isPatient = work === 'check-beside'
    const child = execFile(process.execPath, args, isPatient ? {} : { timeout }, (error) => {
      if (error === null) return resolve('sound')
      const { code, signal, killed } = error
      const isDamage =
        code === DAMAGED_STATUS || (!isPatient && killed === true) || DAMAGE_SIGNALS.has(signal)
      resolve(isDamage ? 'damaged' : 'failed')
    })
    started?.(child)
  })
}
