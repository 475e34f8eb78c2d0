// Commands that Ctrl-C may end: the signal that ends their work, and the exit status and sentence for it.

import { MirrorGone } from './prefetch/silence.ts'
import { overStore, printable } from './store-output.ts'

/** The exit status that shells report for a process ended by Ctrl-C. */
export const INTERRUPTED = 130

/**
 * Runs `work` with a signal that the first SIGINT or SIGTERM aborts. A second one ends the process at once. Settles as `work`
 * does.
 */
export async function interruptible<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const interrupted = new AbortController()
  const interrupt = (): void => interrupted.abort()
  process.once('SIGINT', interrupt)
  process.once('SIGTERM', interrupt)
  try {
    return await work(interrupted.signal)
  } finally {
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
}

/**
 * The same for a command over the store. Resolves with the status of `work`; with 130 after a signal, and `interrupted; …` on
 * stderr; with 1 after an error of a disk, or one that `isExplained` accepts, and its message on stderr. Rejects with every other
 * error. `left` says what stays of the work when the command, or the mirror, stops in the middle.
 */
export function runOverStore(
  work: (signal: AbortSignal) => Promise<number>,
  options: {
    /** The store. Undefined for a command that has none. */
    readonly cacheDir: string | undefined
    readonly isExplained: (error: unknown) => boolean
    readonly left: string
  },
): Promise<number> {
  return interruptible(async (signal) => {
    try {
      return await overStore(options, () => work(signal))
    } catch (error) {
      if (signal.aborted) {
        process.stderr.write(`interrupted; ${options.left}\n`)
        return INTERRUPTED
      }
      if (!options.isExplained(error)) throw error
      const message = printable(error instanceof Error ? error.message : String(error))
      process.stderr.write(`hubmirror: ${message}${error instanceof MirrorGone ? `; ${options.left}` : ''}\n`)
      return 1
    }
  })
}

/** A test whether an error is of one of these classes. */
export function isOneOf(kinds: readonly (new (...args: never[]) => Error)[]): (error: unknown) => boolean {
  return (error) => kinds.some((kind) => error instanceof kind)
}
