// What tests cannot do on this machine, and why they are skipped for it.

/**
 * Says on the terminal that the tests of `what` are skipped, and returns the reason. Where CI is true and root runs the
 * tests, nothing may be missing: then it throws `error`. An ordinary user lacks rights, and that is no failure.
 */
export function skippedFor(what: string, error: unknown): string {
  if (process.env['CI'] === 'true' && process.getuid?.() === 0) throw error
  const reason = error instanceof Error ? error.message.trim() : String(error)
  console.warn(`SKIPPED: ${what} (${reason})`)
  return reason
}
