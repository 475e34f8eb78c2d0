// Calls of the system that may never return: of a pipe whose writer has stalled, or on a volume that has. Nothing can end such a call, so
// a command that was interrupted, or has failed, goes on without it.

let left = 0

/** Counts a call until it settles. Its result, and its error, are ignored. */
export function leave(call: Promise<unknown>): void {
  left += 1
  const settled = (): void => {
    left -= 1
  }
  call.then(settled, settled)
}

/** Whether a call has not returned that was left. Its thread keeps the process alive, also after `process.exit`. */
export function areCallsLeft(): boolean {
  return left > 0
}

/** Settles as the promise of `call` does. Rejects with the reason of `signal` when that aborts, and leaves the call. */
export async function unlessAborted<T>(signal: AbortSignal, call: () => Promise<T>): Promise<T> {
  signal.throwIfAborted()
  const called = call()
  let abort = (): void => undefined
  const aborted = new Promise<never>((_resolve, reject) => {
    abort = () => {
      leave(called)
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', abort)
  })
  try {
    return await Promise.race([called, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
