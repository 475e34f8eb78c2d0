// How long a fact may be trusted after it was learnt. It does not read a clock.

/**
 * `fresh` while the age is below `ttlMs`, else `stale`. A stamp from the future counts as stale: after a clock
 * stepped back its age is unknown, and asking once more is cheap.
 */
export function freshness(storedAt: number, now: number, ttlMs: number): 'fresh' | 'stale' {
  const ageMs = now - storedAt
  return ageMs >= 0 && ageMs < ttlMs ? 'fresh' : 'stale'
}
