// Facts without the rest of a store, over a table of their own.

import { DiskFacts, type FactsOptions } from '../../src/store/facts/facts.ts'
import type { Layout } from '../../src/store/layout.ts'
import { openMirrorTable } from '../../src/store/table/table-damage.ts'

export interface OpenFacts extends DiskFacts {
  /** Closes the table, too. */
  close(): Promise<void>
}

/** Opens the facts of a store as a mirror does; the caller closes them. */
export async function openFacts(
  layout: Layout,
  options: FactsOptions & { readonly onSetAside?: () => void },
): Promise<OpenFacts> {
  const { readOnly = false, onSetAside } = options
  const table = await openMirrorTable(layout, { readOnly, onSetAside })
  const facts = await DiskFacts.open(layout, table.thread, options)
  const closeFacts = facts.close.bind(facts)
  return Object.assign(facts, {
    async close() {
      await closeFacts()
      await table.close()
    },
  })
}
