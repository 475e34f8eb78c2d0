// `import` and `bundle load`, which open the store themselves, are killed in the middle. What was there before is served, all of a new
// repo is shown or nothing, and the same command completes.

import { expect, it } from 'vitest'
import { inRounds, openKilled } from '../../support/killed.ts'
import { run, start } from '../../support/run-cli.ts'

type Opened = Awaited<ReturnType<typeof openKilled>>

async function play(what: string, sides: Opened, args: readonly string[]): Promise<void> {
  await inRounds(what, {
    written: sides.written,
    begin: () => Promise.resolve(start(args, sides.thereEnv)),
    async check({ status, stderr }) {
      expect([status, stderr]).toEqual([status === 0 ? 0 : null, ''])
      await sides.expectStore(status === 0)
    },
    async complete() {
      await sides.done(run(args, sides.thereEnv))
      await sides.expectVerified()
      await sides.expectStore(true)
      await sides.resetStore()
    },
  })
}

it('import loses nothing when it is killed, and completes when it is run again', async () => {
  const sides = await openKilled()
  await sides.makeStore()
  await sides.done(run(['export', 'acme/many', sides.at('hub')], sides.hereEnv))
  await play('kill import', sides, ['import', sides.at('hub'), '--public', '--whole'])
})

it('bundle load loses nothing when it is killed, and completes when it is run again', async () => {
  const sides = await openKilled()
  await sides.makeStore()
  await sides.done(sides.here('create', sides.at('many.tar'), 'acme/many'))
  await play('kill load', sides, ['bundle', 'load', sides.at('many.tar')])
})
