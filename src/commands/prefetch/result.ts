// What `hubmirror prefetch` prints in the end: text, or JSON for programs.

import { repoKey } from '../../hub/names.ts'
import { formatColumns, formatSize, plural, printable } from '../store-output.ts'
import type { FileResult, FileState, RepoResult } from './job.ts'

interface Sum {
  readonly files: number
  readonly sizeBytes: number
}

/** Whether all files that are meant are stored; in a dry run, whether they would be. */
export function isComplete(results: readonly RepoResult[]): boolean {
  return results.every(
    ({ error, files }) => error === undefined && files.every(({ state }) => state !== 'missing'),
  )
}

/** The text, with a list of what is missing; in a dry run, with a list of all files. */
export function formatText(results: readonly RepoResult[], { dryRun }: { readonly dryRun: boolean }): string {
  return results.map((result) => formatRepo(result, dryRun)).join('')
}

function formatRepo(result: RepoResult, dryRun: boolean): string {
  const { repo, revision, commit, error, files } = result
  const name = `${repoKey(repo)}@${printable(revision)}`
  if (error !== undefined) return `${name}: ${printable(error)}\n`
  const of = (state: FileState): string => {
    const sum = sumOf(files.filter((file) => file.state === state))
    return `${sum.files} (${formatSize(sum.sizeBytes)})`
  }
  const present = presentIn(files)
  const parts = dryRun
    ? [
        `${of('stored')} stored`,
        `${of('absent')} to fetch${present === 0 ? '' : `, of which ${formatSize(present)} have arrived`}`,
      ]
    : [`${of('stored')} stored before`, `${of('fetched')} fetched`]
  const missing = files.filter(({ state }) => state === 'missing')
  if (missing.length > 0) parts.push(`${of('missing')} ${dryRun ? 'would be missing' : 'missing'}`)
  const all = sumOf(files)
  const head = `${name} (${commit?.slice(0, 7)}): ${plural(all.files, 'file')}, ${formatSize(all.sizeBytes)}; ${parts.join(', ')}\n`
  return head + (dryRun ? formatFiles(files) : '') + formatMissing(missing)
}

const STORED: Readonly<Record<FileState, string>> = {
  stored: 'stored',
  fetched: 'fetched',
  absent: 'to fetch',
  missing: 'missing',
}

function formatFiles(files: readonly FileResult[]): string {
  return formatColumns(
    files.map(({ path, sizeBytes, state }) => [`  ${formatSize(sizeBytes)}`, STORED[state], printable(path)]),
    [0],
  )
}

/** The files below their reason: many files are often missing for the same one. */
function formatMissing(files: readonly FileResult[]): string {
  const byReason = new Map<string, string[]>()
  for (const { path, sizeBytes, reason = '' } of files) {
    const lines = byReason.get(reason) ?? []
    lines.push(`    ${printable(path)} (${formatSize(sizeBytes)})\n`)
    byReason.set(reason, lines)
  }
  return [...byReason].map(([reason, lines]) => `  missing: ${printable(reason)}\n${lines.join('')}`).join('')
}

/** The JSON. Each file is in it in a dry run only; those that are missing always are. */
export function formatJson(results: readonly RepoResult[], { dryRun }: { readonly dryRun: boolean }): string {
  const repos = results.map(({ repo, revision, commit = null, error = null, files }) => {
    const sum = (state: FileState): Sum => sumOf(files.filter((file) => file.state === state))
    return {
      repo: repoKey(repo),
      revision,
      commit,
      error,
      ...sumOf(files),
      stored: sum('stored'),
      ...(dryRun
        ? { toFetch: { ...sum('absent'), presentBytes: presentIn(files) } }
        : { fetched: sum('fetched') }),
      missing: files
        .filter(({ state }) => state === 'missing')
        .map(({ path, sizeBytes, reason }) => ({ path, sizeBytes, reason })),
      ...(dryRun && {
        list: files.map(({ path, sizeBytes, state }) => ({ path, sizeBytes, stored: state === 'stored' })),
      }),
    }
  })
  return `${JSON.stringify({ dryRun, complete: isComplete(results), repos }, null, 2)}\n`
}

/** How much unfinished downloads have left of the files that are to be fetched. */
function presentIn(files: readonly FileResult[]): number {
  return files.reduce((sum, { presentBytes = 0 }) => sum + presentBytes, 0)
}

function sumOf(files: readonly FileResult[]): Sum {
  return { files: files.length, sizeBytes: files.reduce((sum, file) => sum + file.sizeBytes, 0) }
}
