// Long work on the main thread, a little at a time, so that whoever asks for something else waits for one piece only.

const waiting: (() => void)[] = []

/** Resolves in a later turn of the event loop. Of all who wait, one goes on in each turn, in the order of coming. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    if (waiting.push(resolve) === 1) setImmediate(next)
  })
}

function next(): void {
  waiting.shift()?.()
  if (waiting.length > 0) setImmediate(next)
}
