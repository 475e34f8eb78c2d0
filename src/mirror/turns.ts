// Splits long work on the main thread into pieces, so that other requests wait for one piece at most.

const waiting: (() => void)[] = []

/** Resolves in a later turn of the event loop. One waiting caller continues in each turn, in the order of the calls. */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(next)
  })
}

function next(): void {
  waiting.shift()?.()
  if (waiting.length > 0) setImmediate(next)
}

/** Resolves with `event`, or after `ms`. */
export async function within(ms: number, event: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  await Promise.race([event, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))])
  clearTimeout(timer)
}
