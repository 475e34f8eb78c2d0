// `bundle load`, `import` and `prefetch` beside a running mirror: the command or the mirror is killed in the middle. What was there
// before is served, all of a new repo is shown or nothing, and the same command completes.

import { expect, it } from 'vitest'
import { expectFiles, expectServed, inRounds, openKilled } from '../../support/killed.ts'
import { startChild } from '../../support/process.ts'
import { run, start } from '../../support/run-cli.ts'

type Opened = Awaited<ReturnType<typeof openKilled>>

/** What a command reads is made first. */
const COMMANDS = {
  'bundle load': async (sides: Opened) => {
    await sides.done(sides.here('create', sides.at('many.tar'), 'acme/many'))
    return ['bundle', 'load', sides.at('many.tar')]
  },
  import: async (sides: Opened) => {
    await sides.done(run(['export', 'acme/many', sides.at('hub')], sides.hereEnv))
    return ['import', sides.at('hub'), '--public', '--whole']
  },
} as const

it.each([
  ['bundle load', 'command'],
  ['bundle load', 'mirror'],
  ['import', 'command'],
  ['import', 'mirror'],
] as const)(
  '%s loses nothing when the %s is killed, and completes when it is run again',
  async (name, victim) => {
    const sides = await openKilled()
    const { scene, at, thereEnv } = sides
    await sides.makeStore()
    const args = await COMMANDS[name](sides)
    const open = () => startChild({ hub: scene.hub, cacheDir: at('store'), env: thereEnv })
    let mirror = await open()
    try {
      await inRounds(`kill the ${victim} of ${name}`, {
        written: sides.written,
        begin: () => Promise.resolve(start(args, thereEnv)),
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
          await sides.done(run(args, thereEnv))
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

it('prefetch loses nothing when the command is killed, and completes when it is run again', async () => {
  const sides = await openKilled()
  const { scene, at } = sides
  await sides.makeStore()
  const env = { ...sides.thereEnv, HUBMIRROR_OFFLINE: 'off' }
  const args = ['prefetch', 'acme/many']
  const open = () => startChild({ hub: scene.hub, cacheDir: at('store'), env })
  let mirror = await open()
  // Slow enough for the rounds to meet the middle of files.
  scene.hub.bytesPerSecond = 8_000_000
  try {
    await inRounds('kill the command of prefetch', {
      written: sides.written,
      begin: () => Promise.resolve(start(args, env)),
      async check({ status }) {
        expect([0, null]).toContain(status)
        await expectFiles(mirror.url, scene, 'acme/before')
      },
      async complete() {
        await sides.done(run(args, env))
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
})
