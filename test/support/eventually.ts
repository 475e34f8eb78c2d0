// Waiting for what will be true soon: for states that are not announced. Knows no server.

import { setTimeout as delay } from 'node:timers/promises'

const POLL_MS = 5

/** Resolves with the first value of `look` that passes `isDue`; rejects after `withinMs` with the last one. */
export async function eventually<T>(
  look: () => T | Promise<T>,
  isDue: (value: T) => boolean,
  withinMs = 120_000,
): Promise<T> {
  const deadlineAt = performance.now() + withinMs
  for (;;) {
    const value = await look()
    if (isDue(value)) return value
    if (performance.now() > deadlineAt) throw new Error(`still not so: ${JSON.stringify(value)}`)
    await delay(POLL_MS)
  }
}
