// Shared by ls, prefetch, prune and verify: which repo an argument means, how sizes and times are printed, and which text is safe on a
// terminal. This file opens no store.

import prettyBytes from 'pretty-bytes'
import { DiskFailure, diskCode } from '../disk-errors.ts'
import { UnusableDirectory } from '../store/prepare.ts'
import { UnusableAuditLog } from '../telemetry/audit.ts'

const DAY_MS = 86_400_000

const TYPES: ReadonlyMap<string, string> = new Map(
  ['models', 'datasets', 'spaces', 'kernels'].flatMap((plural) => [
    [plural, plural],
    [plural.slice(0, -1), plural],
  ]),
)

/**
 * Returns a test whether a repo, named as in facts (`models/org/name`), matches the text of an operator: `org/name` for a
 * model, `dataset/org/name` or `datasets/org/name`, and `*` for any letters (`models/org/*`, `*`). Case is ignored.
 */
export function repoMatcher(text: string): (repo: string) => boolean {
  const [first = '', ...rest] = text.split('/')
  const type = rest.length > 0 ? TYPES.get(first.toLowerCase()) : undefined
  const anywhere = first.includes('*') ? [text] : []
  const forms = type === undefined ? [`models/${text}`, ...anywhere] : [`${type}/${rest.join('/')}`]
  const patterns = forms.map(
    (form) => new RegExp(`^${form.split(/\*+/).map(escapePattern).join('.*')}$`, 'is'),
  )
  return (repo) => patterns.some((pattern) => pattern.test(repo))
}

function escapePattern(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\/-]/g, '\\$&')
}

/** `1.2 GB`, in powers of 1000 as in settings. */
export function formatSize(sizeBytes: number): string {
  return prettyBytes(sizeBytes)
}

/** `3d ago`; the exact time is in the JSON. */
export function formatAge(usedAt: number | undefined, now: number): string {
  if (usedAt === undefined) return '-'
  const ageMs = Math.max(0, now - usedAt)
  if (ageMs >= 2 * DAY_MS) return `${Math.floor(ageMs / DAY_MS)}d ago`
  if (ageMs >= 3_600_000) return `${Math.floor(ageMs / 3_600_000)}h ago`
  return ageMs < 60_000 ? 'just now' : `${Math.floor(ageMs / 60_000)}m ago`
}

/** `2h5m`, `90s`. */
export function formatSpan(seconds: number): string {
  return seconds > 3600
    ? `${Math.floor(seconds / 3600)}h${Math.floor((seconds % 3600) / 60)}m`
    : `${seconds}s`
}

/** A time for programs, in ISO 8601. */
export function formatInstant(at: number | undefined): string | null {
  return at === undefined ? null : new Date(at).toISOString()
}

/** Escapes characters that move the cursor or change the direction of text, because any author chooses paths. */
export function printable(text: string): string {
  return text.replace(
    /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
    (letter) => `\\u{${(letter.codePointAt(0) ?? 0).toString(16)}}`,
  )
}

/** Rows as columns that are two spaces apart. The columns in `right` are aligned to the right. */
export function formatColumns(rows: readonly (readonly string[])[], right: readonly number[]): string {
  const widths: number[] = []
  for (const row of rows)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length)
  const line = (row: readonly string[]): string =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0
        return right.includes(column) ? cell.padStart(width) : cell.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  return rows.map((row) => `${line(row)}\n`).join('')
}

/** `3 blobs`, `1 blob`. */
export function plural(count: number, word: string): string {
  return `${count} ${word}${count === 1 ? '' : 's'}`
}

/**
 * Runs a command on a store, or on a file if `cacheDir` is undefined. An unusable directory or audit log, and what else a disk does
 * not do, is reported as a sentence, with status 1.
 */
export async function overStore(
  { cacheDir }: { readonly cacheDir?: string | undefined },
  run: () => Promise<number>,
): Promise<number> {
  try {
    return await run()
  } catch (error) {
    const explained = diskFailureOf(error, cacheDir)
    if (explained === undefined) throw error
    process.stderr.write(`hubmirror: ${printable(explained.message)}\n`)
    return 1
  }
}

/** An error that names the place where it happened. What has no place of its own has happened in the store. */
function diskFailureOf(error: unknown, cacheDir: string | undefined): Error | undefined {
  if (error instanceof DiskFailure || error instanceof UnusableDirectory || error instanceof UnusableAuditLog)
    return error
  const { path, dest } = error as { readonly path?: unknown; readonly dest?: unknown }
  const place = dest ?? path ?? cacheDir
  if (diskCode(error) === undefined || typeof place !== 'string') return undefined
  return new DiskFailure(`${place} cannot be used`, error)
}
