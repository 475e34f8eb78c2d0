// `hubmirror config`: every setting's value and where it came from. Secrets come masked from config/load.ts.
import type { Origin } from '../config/load.ts'

/** The text that the command prints: aligned columns, or JSON for programs. */
export function formatOrigins(
  origins: ReadonlyMap<string, Origin>,
  options: { readonly json: boolean },
): string {
  if (options.json) {
    const rows = [...origins].map(([key, { source, where, shown }]) => [key, { value: shown, source, where }])
    return `${JSON.stringify(Object.fromEntries(rows), null, 2)}\n`
  }
  const table = [...origins].map(([key, { source, where, shown }]) => [
    key,
    shown,
    where === '' ? source : `${source} ${where}`,
  ])
  const widths = [0, 1].map((column) => Math.max(...table.map((row) => row[column]?.length ?? 0)))
  return table.map((row) => `${row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')}\n`).join('')
}
