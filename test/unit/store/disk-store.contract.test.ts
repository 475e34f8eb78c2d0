// The store on a local disk keeps the promises of every store.

import { testStore } from './contract/contract.ts'
import { open, scratchDirectory } from './scratch.ts'

testStore('a store on a disk', async () => {
  const root = await scratchDirectory()
  return { open: (options = {}) => open(root, options) }
})

testStore('a store on a disk that checks its reads', async () => {
  const root = await scratchDirectory()
  return { open: (options = {}) => open(root, { ...options, checkReadsMs: 0 }) }
})
