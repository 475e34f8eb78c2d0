// Whether the client of an upload keeps up: by what arrives, and only while it is the client that is waited for.

import { beforeEach, expect, it, onTestFinished, vi } from 'vitest'
import { watchUpload } from '../../../../src/origin/connections/upload-pace.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
  onTestFinished(() => void vi.useRealTimers())
})

function setUp(isWanted = false) {
  const request = {
    complete: false,
    paused: false,
    readableLength: 0,
    socket: { bytesRead: 0 },
    isPaused: () => request.paused,
  }
  const events: string[] = []
  const stop = watchUpload(request, {
    isWanted: () => isWanted,
    onSlow: ({ code }) => void events.push(code),
    onComplete: () => void events.push('complete'),
  })
  return { request, events, stop }
}

it.each([
  [false, 120_000],
  [true, 15_000],
])('an upload that sends nothing (others wait: %s) is ended after %i ms, once', (isWanted, ms) => {
  const { events } = setUp(isWanted)
  vi.advanceTimersByTime(ms - 2_500)
  expect(events).toEqual([])
  vi.advanceTimersByTime(10 * ms)
  expect(events).toEqual(['upload_too_slow'])
})

it('an upload that sends slowly is ended', () => {
  const { request, events } = setUp()
  for (let second = 0; second < 200; second += 20) {
    request.socket.bytesRead += 1
    vi.advanceTimersByTime(20_000)
  }
  expect(events).toEqual(['upload_too_slow'])
})

it.each(['paused', 'unread'])('an upload is not ended while the origin accepts nothing (%s)', (how) => {
  const { request, events } = setUp(true)
  if (how === 'paused') request.paused = true
  else request.readableLength = 1
  vi.advanceTimersByTime(600_000)
  expect(events).toEqual([])
})

it('the end of an upload is reported, at once if it has ended, and its pace is not checked any more', () => {
  const { request, events } = setUp()
  vi.advanceTimersByTime(5_000)
  request.complete = true
  vi.advanceTimersByTime(600_000)
  expect(events).toEqual(['complete'])
  expect(vi.getTimerCount()).toBe(0)
})

it('an upload is not checked any more once it is stopped', () => {
  const { events, stop } = setUp()
  stop()
  vi.advanceTimersByTime(600_000)
  expect([events, vi.getTimerCount()]).toEqual([[], 0])
})
