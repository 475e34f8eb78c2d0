// Reads a table through, or copies it to a new one, in a process of its own: LMDB trusts the pages that it maps into
// memory, so a damaged page can end the process that reads it. Used by table-damage.ts.
//
// Arguments: what to do, the folder of the table, and the folder of the new one, if one is made. Exit status 0: all of it could be
// read. What `copy` has copied before the process ended is in the new table in any case.

import { mkdirSync } from 'node:fs'
import { errorCode } from '../atomic.ts'
import { hasDigest } from '../digest.ts'
import { decodeFact, factId } from '../facts/fact-bytes.ts'
import type { FactKind } from '../store.ts'
import { type Change, openTable, type Table } from './table.ts'
import { DAMAGED_STATUS, type Rescue } from './table-damage.ts'
import { DamagedTable } from './table-errors.ts'

/** Few and short ones first, which are of most use. */
const ORDER: readonly FactKind[] = ['repos', 'refs', 'files', 'documents']
/** How many rows are copied in one commit, and how many of their bytes. */
const COPY_AT_ONCE = { rows: 1000, bytes: 8 * 1024 * 1024 }

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

const [, , work, from = '', to = ''] = process.argv
/** The new table cannot be written, which says nothing about the old one. LMDB says EIO where the disk is full. */
class CopyFailed extends Error {}

try {
  switch (work as Rescue) {
    case 'check':
      await check(from, { isAlone: true })
      break
    case 'check-beside':
      await check(from, { isAlone: false })
      break
    case 'copy':
      await copy(from, to)
      break
    case 'compact':
      await compact(from, to)
      break
    default:
      throw new CopyFailed(`unknown work: ${work}`)
  }
} catch (error) {
  const isFailure = error instanceof CopyFailed || NO_ROOM.has(errorCode(error))
  process.exitCode = isFailure ? 1 : DAMAGED_STATUS
  process.stderr.write(`${String(error)}\n`)
}

/** Beside a mirror it changes nothing. It reads one state of the table, whatever is changed meanwhile. */
async function check(directory: string, { isAlone }: { readonly isAlone: boolean }): Promise<void> {
  const table = await openTable(directory, { readOnly: !isAlone, extendsCut: isAlone })
  // A mirror that has just begun to make it.
  if (table === undefined) return
  // A fact with wrong bytes counts as absent, and so does a blob. Only what LMDB itself cannot read is damage here.
  for (const kind of ORDER) {
    let count = 0
    for (const { id } of table.walkFacts(kind)) if (table.fact({ kind, id }) !== undefined) count += 1
    if (count !== table.countFacts(kind)) throw new DamagedTable(directory, `it has not all of its ${kind}`)
  }
  let [rows, contents] = [0, 0]
  for (const { key, isInTable } of table.walkBlobs()) {
    rows += 1
    // Their bytes are verified when they are requested. To read all of them would delay the start.
    if (isInTable && table.hasBlobBytes(key)) contents += 1
  }
  const counted = table.countBlobs()
  if (rows !== counted.rows || contents !== counted.contents)
    throw new DamagedTable(directory, 'it has not all of its blobs')
  if (isAlone) {
    // A change takes pages from the list of free ones, which readers do not need.
    const probe = { kind: 'files', id: factId('probe') } as const
    const put = { act: 'put', ...probe, bytes: Buffer.alloc(1), usedAt: 0 } as const
    table.change([put, { act: 'remove', ...probe }], Number.POSITIVE_INFINITY)
  }
  await table.close()
}

async function compact(directory: string, target: string): Promise<void> {
  mkdirSync(target, { recursive: true, mode: 0o700 })
  const table = await openTable(directory, { readOnly: true })
  await table?.copyTo(target)
  await table?.close()
}

async function copy(directory: string, target: string): Promise<void> {
  mkdirSync(target, { recursive: true, mode: 0o700 })
  const copied = await openTable(target, { readOnly: false }).catch((error: unknown) => {
    throw new CopyFailed(String(error))
  })
  const table = await openTable(directory, { readOnly: true, extendsCut: true })
  if (table !== undefined) {
    for (const kind of ORDER) {
      const count = copyAll(copied, factsOf(table, kind))
      if (count !== table.countFacts(kind)) process.exitCode = DAMAGED_STATUS
    }
    const count = copyAll(copied, blobsOf(table))
    if (count !== table.countBlobs().rows) process.exitCode = DAMAGED_STATUS
    if (table.isComplete && process.exitCode === undefined) write(copied, [{ act: 'complete-rows' }])
  }
  await table?.close()
  await copied.close()
}

/** A row that was read, and the change that copies it. Undefined when its bytes are wrong. */
type Copy = Extract<Change, { act: 'put' | 'add-blob' }> | undefined

function* factsOf(table: Table, kind: FactKind): Generator<Copy> {
  for (const { id, bytes } of table.walkFacts(kind)) {
    const fact = decodeFact(bytes)
    const isFact = fact !== undefined && factId(fact.key).equals(id)
    yield isFact ? { act: 'put', kind, id, bytes, usedAt: table.fact({ kind, id })?.usedAt ?? 0 } : undefined
  }
}

function* blobsOf(table: Table): Generator<Copy> {
  for (const { key, sizeBytes, usedAt, isInTable } of table.walkBlobs()) {
    const add = { act: 'add-blob', key, sizeBytes, usedAt } as const
    const bytes = isInTable ? table.blobBytes(key) : undefined
    if (!isInTable) yield add
    else
      yield bytes !== undefined && bytes.length === sizeBytes && hasDigest(key, bytes)
        ? { ...add, bytes }
        : undefined
  }
}

/** Copies what is right. Damage ends these rows, and not the next. Returns how many could be read. */
function copyAll(copied: Table, rows: Generator<Copy>): number {
  let changes: Change[] = []
  let bytesOfChanges = 0
  let count = 0
  for (;;) {
    const next = read(rows)
    if (next === 'end' || changes.length >= COPY_AT_ONCE.rows || bytesOfChanges >= COPY_AT_ONCE.bytes) {
      write(copied, changes)
      changes = []
      bytesOfChanges = 0
    }
    if (next === 'end') return count
    count += 1
    if (next.copy === undefined) continue
    changes.push(next.copy)
    bytesOfChanges += next.copy.bytes?.length ?? 0
  }
}

function read(rows: Generator<Copy>): { readonly copy: Copy } | 'end' {
  try {
    const next = rows.next()
    return next.done === true ? 'end' : { copy: next.value }
  } catch (error) {
    if (NO_ROOM.has(errorCode(error))) throw error
    process.exitCode = DAMAGED_STATUS
    return 'end'
  }
}

function write(copied: Table, changes: readonly Change[]): void {
  try {
    copied.change(changes, Number.POSITIVE_INFINITY)
  } catch (error) {
    throw new CopyFailed(String(error))
  }
}
