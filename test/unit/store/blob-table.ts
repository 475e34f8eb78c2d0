// What tests of blobs need of the table: one of their own, without the rest of a store.

import { onTestFinished } from 'vitest'
import { BlobTable } from '../../../src/store/blobs/blob-table.ts'
import type { Layout } from '../../../src/store/layout.ts'
import { openMirrorTable } from '../../../src/store/table/table-damage.ts'

/** Opens the table of a store; it is closed when the test has ended. */
export async function scratchTable(layout: Layout, now: () => number = Date.now): Promise<BlobTable> {
  const table = await openMirrorTable(layout, { readOnly: false })
  onTestFinished(() => table.close())
  return new BlobTable({ layout, table: table.thread, now, readOnly: false })
}
