// A trusted proxy gives no clear address of a caller: rules by network, and the limit, then take the safe side, which
// depends on the action.

import { expect, it } from 'vitest'
import { SECRET } from '../support/company-world.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { behind, describeUnclear, UNCLEAR } from '../support/unclear-addresses.ts'

// test/long/further/unclear-addresses.test.ts has more addresses.
describeUnclear(UNCLEAR)

it('callers without a clear address count as one caller, and no other caller counts with them', async () => {
  const { from } = await behind('', { clientsRateLimit: { max: 3, windowMs: 3_600_000 } })
  const status = async (address: string) => (await from(address, SECRET, TOKENS.alice)).status
  const got: number[] = []
  for (const address of UNCLEAR) got.push(await status(address))
  expect(got).toEqual([200, 200, 200, 429, 429])
  expect(await status('10.1.2.3')).toBe(200)
  // One address in two spellings is one caller.
  for (const spelling of ['::ffff:10.1.2.3', '::FFFF:a01:203']) expect(await status(spelling)).toBe(200)
  expect(await status('10.1.2.3')).toBe(429)
})
