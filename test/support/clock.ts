// Time that stands still until a test moves it. Knows no timers: those of Node go on as they do.

/** A clock in milliseconds; hand `now` to the code that needs the time. */
export interface ManualClock {
  readonly now: () => number
  /** Moves on; never back. */
  advance(delayMs: number): void
}

/** Starts at `atMs`, away from zero so that a forgotten stamp does not look fresh. */
export function manualClock(atMs = 1_000_000): ManualClock {
  let nowMs = atMs
  return {
    now: () => nowMs,
    advance(delayMs) {
      nowMs += delayMs
    },
  }
}
