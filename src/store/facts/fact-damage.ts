// Finds out whether the table of facts can be used, after a mirror has ended without closing it: by a damaged page, kill -9 or a
// power cut. Facts are a cache: the Hub says them again when files are requested, and their blobs are still stored then.
//
// After one such end the table is read through. If damage is found, or the next mirror ends in the same way, all facts that can
// be read are copied to a new table: the reading finds not all damage. So a damaged page ends a mirror twice at most.

import { execFile } from 'node:child_process'
import { readFile, rename, rm, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { builtFile } from '../../built-file.ts'
import { ifThere, writeAtomic } from '../atomic.ts'
import { moveToQuarantine } from '../blobs/quarantine.ts'
import type { Layout } from '../layout.ts'
import { tableFile } from './fact-table.ts'

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

/**
 * Makes the table usable if the last mirror has not closed it, and marks it as in use. Resolves with whether facts were lost to
 * damage; the old table is in quarantine then.
 */
export async function repairAfterCrash(layout: Layout): Promise<boolean> {
  const table = tableFile(layout.facts)
  const [mark, stats] = await Promise.all([
    ifThere(readFile(layout.factsInUse, 'utf8')),
    ifThere(stat(table)),
  ])
  await writeAtomic(layout.tmp, layout.factsInUse, mark === undefined ? '' : AGAIN, { durable: false })
  if (mark === undefined || stats === undefined) return false
  const isSound = mark !== AGAIN && (await run(layout, stats.size)) !== 'damaged'
  return isSound ? false : rebuild(layout, stats.size)
}

/** Copies what can be read to a new table, which takes the place of the old one. Resolves with whether there was damage. */
async function rebuild(layout: Layout, sizeBytes: number): Promise<boolean> {
  const directory = path.join(layout.tmp, 'facts')
  const copied = await run(layout, sizeBytes, directory)
  // A full disk, say: the old table is the better one.
  if (copied === 'failed') return false
  if (copied === 'damaged') await moveToQuarantine(layout, tableFile(layout.facts), QUARANTINED_NAME)
  await ifThere(rename(tableFile(directory), tableFile(layout.facts)))
  await removeLocks(layout)
  await rm(directory, { recursive: true, force: true })
  return copied === 'damaged'
}

/** Records that the table was closed and is sound. */
export async function unmarkInUse(layout: Layout): Promise<void> {
  await ifThere(unlink(layout.factsInUse))
}

/** Moves the table to quarantine. The next one is empty. */
export async function setTableAside(layout: Layout): Promise<void> {
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
    fileURLToPath(builtFile('store/facts/fact-rescue.js')),
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
