// Reads a table of facts through, in a process of its own: LMDB trusts the pages that it maps into memory, so a damaged page
// can end the process that reads it. Exit status 0: all of it can be read, and written to. Used by fact-damage.ts.

import { FACT_KINDS } from '../store.ts'
import { decodeFact, factId } from './fact-bytes.ts'
import { DAMAGED_STATUS } from './fact-damage.ts'
import { openTable } from './fact-table.ts'
import { DamagedFacts } from './table-errors.ts'

try {
  const table = await openTable(process.argv[2] ?? '', { readOnly: false })
  for (const kind of FACT_KINDS) {
    for (const { id, bytes } of table.walk(kind)) {
      // A fact with wrong bytes counts as absent. Only what LMDB itself cannot read is damage here.
      decodeFact(bytes)
      table.get({ kind, id })
    }
  }
  // A change takes pages from the list of free ones, which readers do not need.
  const probe = { kind: 'files', id: factId('probe') } as const
  const put = { act: 'put', ...probe, bytes: Buffer.alloc(1), usedAt: 0 } as const
  table.change([put, { act: 'remove', ...probe }], Number.POSITIVE_INFINITY)
  await table.close()
} catch (error) {
  process.exitCode = error instanceof DamagedFacts ? DAMAGED_STATUS : 1
  process.stderr.write(`${String(error)}\n`)
}
