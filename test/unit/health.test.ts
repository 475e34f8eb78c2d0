import { pino } from 'pino'
import { expect, it } from 'vitest'
import { createHealth } from '../../src/health.ts'
import { silentObserver } from '../../src/telemetry/observer.ts'
import { manualClock } from '../support/clock.ts'
import { eventually } from '../support/eventually.ts'

function setUp() {
  const clock = manualClock()
  const degraded: boolean[] = []
  const disk = { probes: 0, answer: (): Promise<void> => Promise.resolve() }
  const health = createHealth({
    probe: () => {
      disk.probes += 1
      return disk.answer()
    },
    observer: { ...silentObserver, storeDegraded: (value) => degraded.push(value) },
    logger: pino({ level: 'silent' }),
    monotonic: clock.now,
    originTrouble: () => undefined,
  })
  return { clock, degraded, disk, health }
}

it('tells that a failed store takes bytes again though nobody asks whether it is ready', async () => {
  const { clock, degraded, disk, health } = setUp()
  health.recheck()
  expect(disk.probes, 'nothing has failed').toBe(0)
  health.onStorageFailed(new Error('full'))
  health.recheck()
  expect(disk.probes, 'given a moment of rest').toBe(0)
  clock.advance(10_001)
  health.recheck()
  await eventually(
    () => degraded,
    (told) => told.at(-1) === false,
  )
  expect(degraded).toEqual([true, false])
})

it('tries one thing at a time, and believes no success that a failure has overtaken', async () => {
  const { clock, degraded, disk, health } = setUp()
  const answers: (() => void)[] = []
  disk.answer = () => new Promise((resolve) => answers.push(resolve))
  health.onStorageFailed(new Error('full'))
  clock.advance(10_001)
  health.recheck()
  health.recheck()
  const ready = health.readiness()
  expect(disk.probes).toBe(1)
  health.onStorageFailed(new Error('full again'))
  answers[0]?.()
  expect((await ready).checks['store']).toEqual({ ok: false, detail: 'full again' })
  expect(degraded).toEqual([true, true])
})
