// The promises of a store (src/store/store.ts), as tests that run on any implementation. What belongs to one of them
// alone, such as files, locks and damage, is tested beside it.

import { expect, it } from 'vitest'
import { testAccounts } from './accounts.ts'
import { testBlobs } from './blobs.ts'
import { testFacts } from './facts.ts'
import { testPartials } from './partials.ts'
import { type MakeStore, opened } from './under-test.ts'

/** Tests all promises on the stores that `make` makes. */
export function testStore(name: string, make: MakeStore): void {
  testBlobs(name, make)
  testPartials(name, make)
  testAccounts(name, make)
  testFacts(name, make)

  it(`${name} that takes bytes is not read-only, and says so when probed`, async () => {
    const store = await opened(make)
    expect(store.readOnly).toBe(false)
    await store.probe()
    await store.fit()
    expect(store.status()).toMatchObject({ sizeBytes: 0, blobs: 0, reservedBytes: 0 })
  })
}
