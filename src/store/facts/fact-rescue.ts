// Reads a table of facts through, or copies it to a new one, in a process of its own: LMDB trusts the pages that it maps into
// memory, so a damaged page can end the process that reads it. Used by fact-damage.ts.
//
// Arguments: the folder of the table, and the folder of the new one, which exists, or nothing to copy nothing. Exit status 0: all
// of it could be read. What was copied before the process ended is in the new table in any case.

import { mkdirSync } from 'node:fs'
import { errorCode } from '../atomic.ts'
import type { FactKind } from '../store.ts'
import { decodeFact, factId } from './fact-bytes.ts'
import { DAMAGED_STATUS } from './fact-damage.ts'
import { type FactChange, type FactTable, openTable } from './fact-table.ts'
import { DamagedFacts } from './table-errors.ts'

/** Few and short ones first, which are of most use. */
const ORDER: readonly FactKind[] = ['repos', 'refs', 'files', 'documents']
/** How many facts are copied in one commit, and how many of their bytes. */
const COPY_AT_ONCE = { facts: 1000, bytes: 8 * 1024 * 1024 }

/** Errors that say nothing about the table. Any other one comes from what was read there. */
const NO_ROOM: ReadonlySet<unknown> = new Set([
  'ENOSPC',
  'EDQUOT',
  'EROFS',
  'EACCES',
  'EMFILE',
  'ENFILE',
  'ENOMEM',
])

const [, , from = '', to] = process.argv
try {
  if (to === undefined) await check(from)
  else await copy(from, to)
} catch (error) {
  process.exitCode = NO_ROOM.has(errorCode(error)) ? 1 : DAMAGED_STATUS
  process.stderr.write(`${String(error)}\n`)
}

async function check(directory: string): Promise<void> {
  const table = await openTable(directory, { readOnly: false })
  // A fact with wrong bytes counts as absent. Only what LMDB itself cannot read is damage here.
  for (const kind of ORDER) {
    let count = 0
    for (const { id } of table.walk(kind)) if (table.get({ kind, id }) !== undefined) count += 1
    if (count !== table.count(kind)) throw new DamagedFacts(directory, `it has not all of its ${kind}`)
  }
  // A change takes pages from the list of free ones, which readers do not need.
  const probe = { kind: 'files', id: factId('probe') } as const
  const put = { act: 'put', ...probe, bytes: Buffer.alloc(1), usedAt: 0 } as const
  table.change([put, { act: 'remove', ...probe }], Number.POSITIVE_INFINITY)
  await table.close()
}

async function copy(directory: string, target: string): Promise<void> {
  mkdirSync(target, { recursive: true, mode: 0o700 })
  const copied = await openTable(target, { readOnly: false })
  const table = await openTable(directory, { readOnly: true })
  for (const kind of ORDER) if (table !== undefined) copyKind(table, copied, kind)
  await table?.close()
  await copied.close()
}

/** Copies what is right. Damage ends this kind, and not the next. */
function copyKind(table: FactTable, copied: FactTable, kind: FactKind): void {
  let puts: FactChange[] = []
  let bytesOfPuts = 0
  const commit = (): void => {
    copied.change(puts, Number.POSITIVE_INFINITY)
    puts = []
    bytesOfPuts = 0
  }
  let count = 0
  try {
    for (const { id, bytes } of table.walk(kind)) {
      count += 1
      const fact = decodeFact(bytes)
      if (fact === undefined || !factId(fact.key).equals(id)) continue
      puts.push({ act: 'put', kind, id, bytes, usedAt: table.get({ kind, id })?.usedAt ?? 0 })
      bytesOfPuts += bytes.length
      if (puts.length >= COPY_AT_ONCE.facts || bytesOfPuts >= COPY_AT_ONCE.bytes) commit()
    }
  } catch (error) {
    if (NO_ROOM.has(errorCode(error))) throw error
    process.exitCode = DAMAGED_STATUS
  }
  if (count !== table.count(kind)) process.exitCode = DAMAGED_STATUS
  commit()
}
