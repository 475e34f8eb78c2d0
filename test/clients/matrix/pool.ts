// Bounds how many rows play at once: each runs a mirror, a simulated Hub and a client.

const AT_ONCE = 2

let free = AT_ONCE
const waiting: (() => void)[] = []

/** Runs `work` as soon as fewer than two others run. */
export async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (free > 0) free -= 1
  else await new Promise<void>((go) => waiting.push(go))
  try {
    return await work()
  } finally {
    const next = waiting.shift()
    if (next === undefined) free += 1
    else next()
  }
}
