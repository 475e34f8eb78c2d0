// `bundle load` into a running mirror: the command or the mirror is killed in the middle. What was there before is served, all of
// a new repo is shown or nothing, and the same command completes.

import { expect, it } from 'vitest'
import { expectServed, inRounds, openKilled } from '../../support/killed.ts'
import { startChild } from '../../support/process.ts'
import { start } from '../../support/run-cli.ts'

it.each(['command', 'mirror'] as const)(
  'bundle load loses nothing when the %s is killed, and completes when it is run again',
  async (victim) => {
    const sides = await openKilled()
    const { scene, at, thereEnv } = sides
    await sides.makeStore()
    await sides.done(sides.here('create', at('many.tar'), 'acme/many'))
    const open = () => startChild({ hub: scene.hub, cacheDir: at('store'), env: thereEnv })
    let mirror = await open()
    try {
      await inRounds(`kill the ${victim} of load`, {
        written: sides.written,
        begin: () => Promise.resolve(start(['bundle', 'load', at('many.tar')], thereEnv)),
        ...(victim === 'mirror' && { kill: () => mirror.kill('SIGKILL') }),
        async check({ status, stderr }) {
          if (victim === 'mirror') {
            await mirror.ended
            if (status !== 0)
              expect([status, stderr]).toEqual([1, expect.stringContaining('the mirror has stopped')])
            mirror = await open()
          }
          await expectServed(mirror.url, scene, { isWhole: status === 0 })
        },
        async complete() {
          await sides.done(sides.there('load', at('many.tar')))
          await expectServed(mirror.url, scene, { isWhole: true })
          await sides.expectVerified()
          await mirror.stop()
          await sides.expectStore(true)
          await sides.resetStore()
          mirror = await open()
        },
      })
    } finally {
      await mirror.stop()
    }
  },
)
