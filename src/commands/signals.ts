// What signals mean to a mirror that serves. It does none of it.

import { isatty } from 'node:tty'

/** What ends a mirror; a terminal that has gone is told by SIGHUP. */
export type StopSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP'

/**
 * Listens to signals for as long as the process lives. `stopped` resolves with the first one to stop; each one after it
 * ends the process at once, with 1: the store needs no repair after a drain that was not finished. SIGHUP calls
 * `onHangUp`, unless it says that the terminal has gone by which the mirror was started.
 */
export function listenToSignals(onHangUp: () => void): { readonly stopped: Promise<StopSignal> } {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd))
  const stopped = new Promise<StopSignal>((resolve) => {
    let isStopping = false
    // For good: between two handlers a signal would end the process as if there were none.
    const stop = (signal: StopSignal): void => {
      if (isStopping) process.exit(1)
      isStopping = true
      resolve(signal)
    }
    process.on('SIGTERM', () => stop('SIGTERM'))
    process.on('SIGINT', () => stop('SIGINT'))
    process.on('SIGHUP', () => {
      if (terminals.some((fd) => !isatty(fd))) stop('SIGHUP')
      else onHangUp()
    })
  })
  return { stopped }
}

/** Ends the process as SIGHUP would have. Node's own end aborts where it finds the terminal gone that it would set back. */
export async function dieOfHangUp(): Promise<never> {
  process.removeAllListeners('SIGHUP')
  process.kill(process.pid, 'SIGHUP')
  return new Promise(() => undefined)
}
