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

/** Resolves with `event`, or after `ms`, unless that is Infinity. Rejects with the reason of `signal` when that aborts before. */
export async function within(ms: number, event: Promise<void>, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted()
  let end = (): void => {}
  const over = new Promise<void>((resolve, reject) => {
    const timer = ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(resolve, ms)
    const leave = (): void => reject(signal?.reason as Error)
    signal?.addEventListener('abort', leave, { once: true })
    end = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
    }
  })
  await Promise.race([event, over]).finally(end)
}
