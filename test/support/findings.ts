// Finds in a table of the doctor what a line of its output is.

interface Line {
  readonly id: string
  readonly status: string
  readonly message: string
}

interface Finding {
  readonly check: string
  readonly status: string
  readonly message: string
}

/** Resolves lines by this table. The function returns undefined for a check that was not made. */
export function findingsOf<Id extends string>(
  table: Readonly<Record<Id, Finding>>,
): (line: Line) => Id | undefined {
  const rows = Object.entries<Finding>(table)
    .map(([id, { check, status, message }]) => {
      const parts = message.split(/\s*\{\w+\}/)
      const escaped = parts.map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'))
      const length = parts.join('').length
      return { id: id as Id, check, status, length, pattern: new RegExp(`^${escaped.join('.*')}$`) }
    })
    // Those with the longest texts come first: `{problem}.` is like everything.
    .sort((a, b) => b.length - a.length)
  return ({ id, status, message }) =>
    rows.find((row) => row.check === id && row.status === status && row.pattern.test(message))?.id
}
