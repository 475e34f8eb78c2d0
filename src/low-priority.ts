import { constants, setPriority } from 'node:os'

/** Lets all other processes of the machine go before the process `pid`. Never throws: it may have ended, or a sandbox may forbid it. */
export function yieldToOthers(pid: number): void {
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW)
  } catch {}
}
