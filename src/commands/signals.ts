// Maps signals to actions of a serving mirror. The caller carries them out.

import { isatty } from 'node:tty'

/** The signals that stop a mirror. SIGHUP does so only after the terminal has closed. */
export type StopSignal = 'SIGTERM' | 'SIGINT' | 'SIGHUP'

/**
 * Listens to signals for as long as the process lives. `stopped` resolves with the first signal that stops the mirror. Each
 * further one ends the process at once with status 1; the store needs no repair after that. SIGHUP calls `onHangUp`, unless
 * the terminal at which the mirror was started has closed.
 */
export function listenToSignals(onHangUp: () => void): { readonly stopped: Promise<StopSignal> } {
  const terminals = [0, 1, 2].filter((fd) => isatty(fd))
  const stopped = new Promise<StopSignal>((resolve) => {
    let isStopping = false
    // Never removed: without a handler, a signal would end the process at once.
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

/** Ends the process as SIGHUP does by default. Node's normal exit aborts if it cannot restore a terminal that has closed. */
export async function dieOfHangUp(): Promise<never> {
  process.removeAllListeners('SIGHUP')
  process.kill(process.pid, 'SIGHUP')
  return new Promise(() => undefined)
}
