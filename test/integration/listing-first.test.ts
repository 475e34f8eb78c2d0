// Clients that begin with a listing (HfFileSystem, huggingface.js, llama.cpp): it does not say who may read the repo, so
// the mirror finds out, and stores the listing if the repo is public.

import { describe, expect, it } from 'vitest'
import { eventually } from '../support/eventually.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'

describe('a listing that is the first request for a repo', () => {
  const LISTINGS = [
    '/api/models/acme/open/tree/main?recursive=true',
    '/api/models/acme/open/refs',
    '/api/models/acme/open/tree/main/additional_chat_templates?recursive=false&expand=false',
  ]

  it('makes the mirror ask about the repo once, and is stored if the repo is public', async () => {
    const scene = await openScene()
    for (const token of [undefined, TOKENS.alice]) {
      for (const target of LISTINGS) await scene.ask(target, { token })
    }
    const proofs = () => scene.hub.ledger.requests({ url: /^\/api\/models\/acme\/open\?expand=private/ })
    await eventually(
      async () => (await scene.ask(LISTINGS[0] ?? '')).headers['x-cache'],
      (word) => word === 'HIT',
    )
    expect(proofs().map(({ headers }) => headers.authorization)).toEqual([undefined])
    for (const target of LISTINGS) await scene.ask(target)
    scene.clock.advance(10_000)
    await scene.hub.stop()
    const replies = await Promise.all(LISTINGS.map((target) => scene.ask(target)))
    expect(replies.map(({ status, headers }) => [status, headers['x-cache']])).toEqual([
      [200, 'STALE'],
      [200, 'STALE'],
      [404, 'STALE'],
    ])
  })

  it.each(['secret', 'gated'])('is not stored of acme/%s', async (name) => {
    const scene = await openScene()
    const targets = LISTINGS.map((target) => target.replace('open', name))
    for (const target of [...targets, ...targets]) {
      expect((await scene.ask(target, { token: TOKENS.alice })).headers['x-cache']).toMatch(/BYPASS|REFUSED/)
    }
    await scene.settled()
    await scene.hub.stop()
    for (const target of targets) {
      for (const token of [undefined, TOKENS.alice])
        expect((await scene.ask(target, { token })).status).toBe(502)
    }
  })
})
