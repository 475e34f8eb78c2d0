// Finds out whether the table of facts can be used, and sets a damaged one aside. Facts are a cache: the Hub says them again
// when files are requested, and their blobs are still stored then.
//
// A table is read through only after a mirror ended without closing it, be it by a damaged page, kill -9 or a power cut. So a
// damaged page ends a mirror once at most.

import { execFile } from 'node:child_process'
import { rm, stat, unlink } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { createIn, errorCode, ifThere } from '../atomic.ts'
import { moveToQuarantine } from '../blobs/quarantine.ts'
import type { Layout } from '../layout.ts'
import { tableFile } from './fact-table.ts'

/** Exit status of the check of a damaged table. */
export const DAMAGED_STATUS = 3
/** What ends a process that reads a page which is not what it should be. */
const DAMAGE_SIGNALS: ReadonlySet<unknown> = new Set([
  'SIGSEGV',
  'SIGBUS',
  'SIGABRT',
  'SIGILL',
  'SIGFPE',
  'SIGTRAP',
])

/** Whether the last mirror has not closed the table, and it is damaged. Marks it as in use. */
export async function isDamagedByCrash(layout: Layout): Promise<boolean> {
  const [mark, table] = await Promise.all([
    ifThere(stat(layout.factsInUse)),
    ifThere(stat(tableFile(layout.facts))),
  ])
  if (mark === undefined) await markInUse(layout)
  return mark !== undefined && table !== undefined && (await checkFails(layout.facts, table.size))
}

/** Records that the table was closed and is sound. */
export async function unmarkInUse(layout: Layout): Promise<void> {
  await ifThere(unlink(layout.factsInUse))
}

/** Moves the table to quarantine. The next one is empty. */
export async function setTableAside(layout: Layout): Promise<void> {
  await moveToQuarantine(layout, tableFile(layout.facts), 'facts-data.mdb')
  await rm(`${layout.facts}/lock.mdb`, { force: true })
}

async function markInUse(layout: Layout): Promise<void> {
  try {
    await (await createIn(layout.facts, layout.factsInUse)).close()
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
}

/** Pages that lead back to themselves would be read without end. */
const CHECK_AT_LEAST_MS = 60_000
/** Slower than any disk that a mirror can be run on. */
const CHECK_BYTES_PER_MS = 4096

function checkFails(directory: string, sizeBytes: number): Promise<boolean> {
  // Node cannot run TypeScript. When this file runs from source (tests, tsx), the built script is used.
  const unbuilt = import.meta.url.endsWith('.ts')
  const script = new URL(
    unbuilt ? '../../../dist/store/facts/fact-check.js' : './fact-check.js',
    import.meta.url,
  )
  const timeout = CHECK_AT_LEAST_MS + sizeBytes / CHECK_BYTES_PER_MS
  return new Promise((resolve) => {
    execFile(process.execPath, [fileURLToPath(script), directory], { timeout }, (error) => {
      if (error === null) return resolve(false)
      const { code, signal, killed } = error
      resolve(code === DAMAGED_STATUS || killed === true || DAMAGE_SIGNALS.has(signal))
    })
  })
}
