import { PassThrough } from 'node:stream'
import { expect, it, onTestFinished, vi } from 'vitest'
import { endWhenWanted } from '../../../src/server/pass-through/connection.ts'

it('a stream of events ends after a while if other requests wait for its connection, and otherwise goes on', () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
  const wanted = { is: true }
  const stream = new PassThrough().on('error', () => undefined)
  endWhenWanted(stream, () => wanted.is)
  vi.advanceTimersByTime(55_000)
  expect(stream.destroyed).toBe(false)
  wanted.is = false
  vi.advanceTimersByTime(3_600_000)
  expect(stream.destroyed).toBe(false)
  wanted.is = true
  vi.advanceTimersByTime(5_000)
  expect(stream.destroyed).toBe(true)
})
