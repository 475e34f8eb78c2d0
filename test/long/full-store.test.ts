// `import` and `bundle load` into a store whose limit leaves no room for all. They end before anything is evicted for them, and complete
// when the limit is higher.

import { expect, it } from 'vitest'
import { openKilled } from '../support/killed.ts'
import { run } from '../support/run-cli.ts'

it.each(['import', 'load'] as const)(
  '%s stores and evicts nothing if the store cannot hold all, and completes when it can',
  async (command) => {
    const sides = await openKilled()
    const { at, done, here, hereEnv, thereEnv, store } = sides
    await sides.makeStore()
    await done(run(['export', 'acme/many', at('hub')], hereEnv))
    await done(here('create', at('many.tar'), 'acme/many'))
    const args =
      command === 'load' ? ['bundle', 'load', at('many.tar')] : ['import', at('hub'), '--public', '--whole']
    // All files have 7.2 MB, of which 6 MB are those of the repo that is brought.
    const refused = await run(args, { ...thereEnv, HUBMIRROR_CACHE_MAX_SIZE: '5MB' })
    expect(refused).toEqual({
      status: 1,
      stdout: '',
      stderr:
        `hubmirror: the store ${store} has no space for it. Make room on its disk, change HUBMIRROR_CACHE_MAX_SIZE or ` +
        'HUBMIRROR_CACHE_MIN_FREE, and run the command again.\n',
    })
    await sides.expectStore(false)
    await done(run(args, { ...thereEnv, HUBMIRROR_CACHE_MAX_SIZE: '9MB' }))
    await sides.expectStore(true)
  },
)
