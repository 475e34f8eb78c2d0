// What the rules cost the Hub for a repo that has got another name.

import { expect, it } from 'vitest'
import { policiesOf } from '../support/policies.ts'
import { openScene } from '../support/scene.ts'

it('what a rule needs to know of a renamed repo is asked once for both of its names', async () => {
  const scene = await openScene({
    config: { policies: policiesOf('- {action: deny, match: {access: gated}}') },
  })
  expect((await scene.ask('/acme/old/resolve/main/w.bin', { method: 'HEAD' })).status).toBe(200)
  await scene.settled()
  const infos = scene.hub.ledger
    .requests({ server: 'hub', url: /^\/api\/models\/acme\/(?:old|new)\?/ })
    .map(({ url }) => url.split('?')[0])
  const [before, now] = ['/api/models/acme/old', '/api/models/acme/new']
  // Once for the rules and once to see whether it may be stored, by the old name each time.
  expect(infos).toEqual([before, now, before, now])
})
