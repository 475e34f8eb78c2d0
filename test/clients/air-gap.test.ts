// All clients of docs/clients.md on the other side of an air gap: they read, from a mirror that is offline, what one bundle has carried
// there from a store that only `hubmirror prefetch` has filled.

import { afterAll, beforeAll, describe, it } from 'vitest'
import { CLIENTS } from './matrix/clients.ts'
import { expectRead, expectRefused, run } from './matrix/columns.ts'
import { type Network, openNetwork } from './matrix/network.ts'
import { canRead } from './matrix/play.ts'
import { inTurn } from './matrix/pool.ts'
import { repoOf } from './matrix/world.ts'
import { type AirGap, argumentsFor, gapWorld, openAirGap, repoFor } from './support/air-gap.ts'

let network: Network
let gap: AirGap
beforeAll(async () => {
  network = await openNetwork()
  gap = await openAirGap(gapWorld(), network)
  const repos = argumentsFor('open', ['main', 'v1'])
  await gap.here(['prefetch', ...repos])
  await gap.here(['bundle', 'create', gap.at('a.tar'), ...repos])
  gap.hub.ledger.clear()
  await gap.there(['bundle', 'verify', gap.at('a.tar')])
  await gap.there(['bundle', 'load', gap.at('a.tar')])
  await gap.serve()
})
afterAll(async () => {
  await gap.close()
  await network.close()
})

const clients = CLIENTS.filter(canRead)
/** Of these nothing is in a bundle, and they say so. */
const NOT_CARRIED: Readonly<Record<string, RegExp>> = {
  git: /has no git repository of this/,
  'git-lfs': /has no git repository of this/,
}

describe.concurrent('after a bundle was loaded into a mirror that is offline', () => {
  it.each(clients.filter(({ name }) => NOT_CARRIED[name] === undefined))(
    '$name reads the repo by each of its names',
    (client) =>
      inTurn(async () => {
        const repo = repoFor(client, 'open')
        const first = repoOf(gap.hub.world, repo).resolve('v1')?.id ?? ''
        if (client.takesRevision === true)
          for (const revision of ['main', 'v1', first]) await expectRead(client, gap, { repo, revision })
        else await expectRead(client, gap, { repo })
        gap.expectNothingLeft()
      }),
  )

  it.each(clients.filter(({ name }) => NOT_CARRIED[name] !== undefined))(
    '$name is refused, and prints why',
    (client) =>
      inTurn(async () => {
        const command = client.read({ endpoint: gap.endpoint(), repo: repoFor(client, 'open') })
        expectRefused(await run(gap, command), NOT_CARRIED[client.name] ?? /^$/)
        gap.expectNothingLeft()
      }),
  )
})
