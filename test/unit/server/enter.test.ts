import { PassThrough } from 'node:stream'
import { expect, it, onTestFinished, vi } from 'vitest'
import { giveWay } from '../../../src/server/pass-through/enter.ts'

it('a stream of events that others wait for ends after a while, and not before, nor when nobody waits', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const wanted = { is: true }
  const stream = new PassThrough().on('error', () => undefined)
  giveWay(stream, () => wanted.is)
  vi.advanceTimersByTime(55_000)
  expect(stream.destroyed).toBe(false)
  wanted.is = false
  vi.advanceTimersByTime(3_600_000)
  expect(stream.destroyed).toBe(false)
  wanted.is = true
  vi.advanceTimersByTime(5_000)
  expect(stream.destroyed).toBe(true)
})
