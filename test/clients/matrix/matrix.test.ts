// Plays each client of the table in the columns that CI has time for, and compares what it finds with the page. Where root
// runs it, every client is in a network namespace whose one route leads to the mirror.

import { afterAll, beforeAll, describe, it } from 'vitest'
import { isLeftOut, PLACE } from '../support/place.ts'
import type { Client } from './client.ts'
import { CLIENTS } from './clients.ts'
import { type Network, openNetwork } from './network.ts'
import { pairClients, playPairs } from './pairs.ts'
import { absentOf, canReach, play } from './play.ts'
import { inTurn } from './pool.ts'
import { differences, readResults } from './results.ts'

/** A row waits for others. */
const WITHIN_MS = 900_000
/** Whose downloads the other clients read in CI: those that differ most in what they ask for. */
const DOWNLOADERS = ['huggingface_hub 2', 'TEI']

let network: Network
beforeAll(async () => {
  network = await openNetwork()
})
afterAll(() => network.close())

function itPlays(client: Client): void {
  const noPrefix = client.cannot?.prefix
  if (PLACE.path !== '' && noPrefix !== undefined && isLeftOut(client.name, noPrefix)) return
  if (!canReach(client) && isLeftOut(client.name, 'it trusts the authorities that are built into it only'))
    return
  const absent = absentOf(client)
  const isMissing = absent.length > 0
  if (isMissing) console.warn(`SKIPPED ${client.name}: ${absent.join(', ')} not found: ${client.absent}`)
  const mustBeThere = process.env['CI'] === 'true' && client.isOptional !== true
  it.skipIf(isMissing && !mustBeThere)(
    `${client.name} does as docs/clients.md says, and costs the Hub no more`,
    async ({ expect }) => {
      expect(absent, client.absent).toEqual([])
      const { row, failures } = await inTurn(() => play(client, network, client.inCi))
      expect(failures.join('\n')).toBe('')
      expect(differences(readResults().rows[client.name], row)).toEqual([])
    },
    WITHIN_MS,
  )
}

describe.concurrent('the table of clients', () => {
  for (const client of CLIENTS) itPlays(client)
})

describe.concurrent('offline, after one download', () => {
  for (const downloader of pairClients().filter(({ name }) => DOWNLOADERS.includes(name))) {
    it(
      `clients read what ${downloader.name} has downloaded, as docs/clients.md says`,
      async ({ expect }) => {
        const { found, failures } = await inTurn(() => playPairs(downloader, network))
        const shown = readResults().pairs[downloader.name]
        const installed = Object.fromEntries(Object.keys(found).map((reader) => [reader, shown?.[reader]]))
        expect(found, JSON.stringify(failures)).toEqual(installed)
      },
      WITHIN_MS,
    )
  }
})
