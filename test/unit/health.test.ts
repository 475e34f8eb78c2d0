import { pino } from 'pino'
import { describe, expect, it } from 'vitest'
import { createHealth } from '../../src/health.ts'
import { silentObserver } from '../../src/telemetry/observer.ts'
import { manualClock } from '../support/clock.ts'
import { eventually } from '../support/eventually.ts'

function setUp(options: { readonly offline?: boolean } = {}) {
  const clock = manualClock()
  const degraded: boolean[] = []
  const disk = { probes: 0, answer: (): Promise<void> => Promise.resolve() }
  const origin: { trouble: string | undefined } = { trouble: undefined }
  const health = createHealth({
    probe: () => {
      disk.probes += 1
      return disk.answer()
    },
    observer: { ...silentObserver, storeDegraded: (value) => degraded.push(value) },
    logger: pino({ level: 'silent' }),
    monotonic: clock.now,
    originTrouble: () => origin.trouble,
    offline: options.offline === true,
  })
  return { clock, degraded, disk, health, origin }
}

it('reports that a failed store takes bytes again even if no client asks for /readyz', async () => {
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

it('runs one check at a time, and ignores a success that a newer failure has overtaken', async () => {
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

describe('the origin', () => {
  const checkOf = async ({ health }: ReturnType<typeof setUp>) => (await health.readiness()).checks['origin']

  it('is unknown until it has answered, and the mirror is ready meanwhile', async () => {
    const scene = setUp()
    const observer = scene.health.observe(silentObserver)
    expect(await checkOf(scene)).toEqual({ ok: null, detail: 'not asked yet' })
    expect((await scene.health.readiness()).ready).toBe(true)
    observer.originRequest('cdn', 200, 0.1)
    expect(await checkOf(scene)).toEqual({ ok: null, detail: 'not asked yet' })
    observer.originRequest('pass-through', 0, 0.1)
    expect(await checkOf(scene)).toEqual({ ok: null, detail: 'asked; no answer yet' })
    observer.originRequest('pass-through', 503, 0.1)
    expect(await checkOf(scene)).toEqual({ ok: true })
    expect(await checkOf(setUp({ offline: true }))).toEqual({
      ok: null,
      detail: 'never asked: this mirror is offline',
    })
  })

  it('is away from a failure until its next response, even without requests in between', async () => {
    const scene = setUp()
    const told: boolean[] = []
    const observer = scene.health.observe({ ...silentObserver, originUp: (up) => told.push(up) })
    observer.originUp(false)
    scene.origin.trouble = 'The mirror cannot reach the Hub.'
    expect(await checkOf(scene)).toEqual({ ok: false, detail: 'The mirror cannot reach the Hub.' })
    scene.origin.trouble = undefined
    expect(await checkOf(scene)).toEqual({ ok: false, detail: 'unreachable at the last request' })
    observer.originUp(true)
    expect(await checkOf(scene)).toEqual({ ok: true })
    expect(told).toEqual([false, true])
  })
})
