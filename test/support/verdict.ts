// The one question of all fault tests: could a client take the bytes that it got for the file, although they are not?

import { expect } from 'vitest'
import type { Got } from '../hub-simulator/probe.ts'

/** `whole`: every byte is right; `broken`: the connection shows it; `error`: an error status with a message. */
export type Verdict = 'whole' | 'broken' | 'error'

/**
 * Judges what a client got. Throws for what must never happen: a body that looks whole and is not, or an error without
 * a message. The framing must be sound in each case.
 */
export function verdictOf(got: Got, right: Buffer): Verdict {
  const length = got.headers['content-length']
  expect(
    length === undefined && got.headers['transfer-encoding'] === undefined,
    'a body without framing',
  ).toBe(false)
  if (got.isComplete && length !== undefined) expect(got.body.length).toBe(Number(length))
  if (got.status >= 400) {
    expect(got.isComplete, 'an error that breaks off').toBe(true)
    expect(got.headers['x-error-message'], `a ${got.status} without a message`).toBeTruthy()
    return 'error'
  }
  if (!got.isComplete) return 'broken'
  expect(got.body.equals(right), 'a body that looks whole and is wrong').toBe(true)
  return 'whole'
}
