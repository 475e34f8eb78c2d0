// `hubmirror ls`: lists stored content by repo, or file by file. It changes nothing, and a mirror may be running.

import type { Config } from '../config/keys.ts'
import { createLayout, type Layout } from '../store/layout.ts'
import { requireStore } from '../store/prepare.ts'
import {
  fileRecords,
  gitBytesOf,
  type Holding,
  type Inventory,
  type Totals,
  takeInventory,
  totalsOf,
  unclaimed,
} from '../store/upkeep/inventory.ts'
import { statFile, walkSmallBlobs } from '../store/upkeep/walk.ts'

import {
  formatAge,
  formatColumns,
  formatInstant,
  formatSize,
  overStore,
  plural,
  printable,
  repoMatcher,
} from './store-output.ts'

/** The order of a list: largest first, last used first, or by name. */
export type Sort = 'size' | 'used' | 'name'

/** The options of the command line. */
export interface LsOptions {
  readonly pattern?: string | undefined
  readonly files?: string | undefined
  readonly sort: Sort
  readonly limit?: number | undefined
  readonly json: boolean
  readonly quiet: boolean
}

interface RepoRow extends Totals {
  readonly holding: Holding
}

/** Prints the list to stdout. Resolves with the exit status: 1 if there is no store, or no file of the repo in `--files`. */
export function runLs(config: Config, options: LsOptions): Promise<number> {
  return overStore(config, async () => {
    const layout = createLayout(config.cacheDir)
    await requireStore(layout)
    return options.files === undefined
      ? listRepos(layout, options)
      : listFiles(layout, { ...options, files: options.files })
  })
}

async function listRepos(layout: Layout, options: LsOptions): Promise<number> {
  const inventory = await takeInventory(layout)
  const matches = options.pattern === undefined ? () => true : repoMatcher(options.pattern)
  const rows = [...inventory.holdings.values()]
    .filter((holding) => matches(holding.repo))
    .map((holding): RepoRow => rowOf(inventory, holding))
    // A repo of which only facts are stored takes almost no space, and is not listed.
    .filter((row) => row.blobs + row.partials > 0 || row.holding.git !== undefined)
    .sort(ORDERS[options.sort])
  const shown = rows.slice(0, options.limit ?? rows.length)
  if (options.quiet) process.stdout.write(shown.map(({ holding }) => `${holding.repo}\n`).join(''))
  else if (options.json) process.stdout.write(formatJson(layout, inventory, shown))
  else process.stdout.write(formatTable(inventory, rows, shown))
  return 0
}

function rowOf(inventory: Inventory, holding: Holding): RepoRow {
  const totals = totalsOf(inventory, holding.entries)
  const { git } = holding
  return git === undefined
    ? { holding, ...totals }
    : { holding, ...totals, usedAt: Math.max(totals.usedAt ?? 0, git.usedAt) }
}

const ORDERS: Record<Sort, (a: RepoRow, b: RepoRow) => number> = {
  size: (a, b) => spaceOf(b) - spaceOf(a) || byName(a, b),
  used: (a, b) => (b.usedAt ?? 0) - (a.usedAt ?? 0) || byName(a, b),
  name: byName,
}

function spaceOf({ sizeBytes, partialBytes, holding }: RepoRow): number {
  return sizeBytes + partialBytes + (holding.git?.sizeBytes ?? 0)
}

function byName(a: RepoRow, b: RepoRow): number {
  const [left, right] = [a, b].map(({ holding }) => `${holding.repo} ${holding.origin}`)
  return (left ?? '') < (right ?? '') ? -1 : 1
}

function formatJson(layout: Layout, inventory: Inventory, rows: readonly RepoRow[]): string {
  const { usedAt: _, sharedBytes: __, ...lone } = totalsOf(inventory, unclaimed(inventory))
  const { sharedBytes: ___, ...all } = totalsOf(inventory, inventory.entries.keys())
  const repos = rows.map(({ holding, ...sums }) => ({
    origin: holding.origin,
    repo: holding.repo,
    public: holding.isPublic,
    files: holding.files,
    gitBytes: holding.git?.sizeBytes ?? 0,
    ...sums,
    usedAt: formatInstant(sums.usedAt),
  }))
  const gitBytes = gitBytesOf(inventory.holdings.values())
  const totals = { repos: inventory.holdings.size, ...all, gitBytes, usedAt: formatInstant(all.usedAt) }
  const { damagedFacts } = inventory
  return `${JSON.stringify({ cacheDir: layout.root, repos, unclaimed: lone, totals, damagedFacts }, null, 2)}\n`
}

function formatTable(inventory: Inventory, rows: readonly RepoRow[], shown: readonly RepoRow[]): string {
  const now = Date.now()
  const origins = new Set(rows.map(({ holding }) => holding.origin))
  const hasGit = rows.some(({ holding }) => holding.git !== undefined)
  const lines = shown.map((row) => [
    row.holding.repo,
    String(row.holding.files),
    formatSize(row.sizeBytes),
    row.sharedBytes === 0 ? '-' : formatSize(row.sharedBytes),
    row.partials === 0 ? '-' : formatSize(row.partialBytes),
    // Most stores have none.
    ...(hasGit ? [row.holding.git === undefined ? '-' : formatSize(row.holding.git.sizeBytes)] : []),
    formatAge(row.usedAt, now),
    row.holding.isPublic ? 'yes' : 'no',
    // Most stores have one origin. With several, the column distinguishes repos of the same name.
    ...(origins.size > 1 ? [row.holding.origin] : []),
  ])
  const head = ['REPO', 'FILES', 'SIZE', 'SHARED', 'UNFINISHED', ...(hasGit ? ['GIT'] : []), 'USED', 'PUBLIC']
  if (origins.size > 1) head.push('ORIGIN')
  const table =
    lines.length === 0 ? '' : formatColumns([head, ...lines], hasGit ? [1, 2, 3, 4, 5, 6] : [1, 2, 3, 4, 5])
  return `${table}${formatTotals(inventory, rows, shown)}`
}

function formatTotals(inventory: Inventory, rows: readonly RepoRow[], shown: readonly RepoRow[]): string {
  const all = totalsOf(inventory, inventory.entries.keys())
  const lone = totalsOf(inventory, unclaimed(inventory))
  const parts = [
    `${plural(rows.length, 'repo')}; in all ${plural(all.blobs, 'blob')}, ${formatSize(all.sizeBytes)}`,
  ]
  if (shown.length < rows.length) parts.unshift(`${shown.length} shown of`)
  const head = parts.join(' ')
  const notes: string[] = []
  if (all.partials > 0) notes.push(`${all.partials} unfinished, ${formatSize(all.partialBytes)}`)
  const gitBytes = gitBytesOf(inventory.holdings.values())
  if (gitBytes > 0) notes.push(`${formatSize(gitBytes)} of git`)
  if (lone.blobs > 0) notes.push(`${plural(lone.blobs, 'blob')} unclaimed, ${formatSize(lone.sizeBytes)}`)
  if (inventory.damagedFacts > 0) notes.push(`${plural(inventory.damagedFacts, 'damaged fact')} skipped`)
  return `${[head, ...notes].join('; ')}\n`
}

interface FileRow {
  readonly repo: string
  readonly path: string
  readonly commit: string
  readonly sizeBytes: number
  readonly key: string
  readonly stored: 'yes' | 'part' | 'no'
  readonly usedAt: number | undefined
}

async function listFiles(layout: Layout, options: LsOptions & { readonly files: string }): Promise<number> {
  const matches = repoMatcher(options.files)
  const rows: FileRow[] = []
  const small = new Map<string, number>()
  for await (const { key, usedAt } of walkSmallBlobs(layout)) small.set(key, usedAt)
  for await (const record of fileRecords(layout)) {
    if (record === 'damaged') continue
    const repo = record.owner.slice(record.owner.indexOf(' ') + 1)
    if (!matches(repo)) continue
    const blob = small.get(record.key) ?? (await statFile(layout.blob(record.key)))?.modifiedAt
    const partial =
      blob === undefined ? (await statFile(`${layout.partial(record.key)}/data`))?.modifiedAt : undefined
    const { path, commit, sizeBytes, key } = record
    // An empty file needs no bytes.
    const stored = blob !== undefined || sizeBytes === 0 ? 'yes' : partial === undefined ? 'no' : 'part'
    rows.push({ repo, path, commit, sizeBytes, key, stored, usedAt: blob ?? partial })
  }
  if (rows.length === 0) {
    process.stderr.write(`hubmirror: no file of ${options.files} is known\n`)
    return 1
  }
  rows.sort(FILE_ORDERS[options.sort])
  const shown = rows.slice(0, options.limit ?? rows.length)
  if (options.quiet) process.stdout.write(shown.map((row) => `${printable(row.path)}\n`).join(''))
  else if (options.json) {
    const files = shown.map((row) => ({ ...row, usedAt: formatInstant(row.usedAt) }))
    process.stdout.write(`${JSON.stringify({ cacheDir: layout.root, files }, null, 2)}\n`)
  } else process.stdout.write(formatFiles(rows, shown))
  return 0
}

const FILE_ORDERS: Record<Sort, (a: FileRow, b: FileRow) => number> = {
  size: (a, b) => b.sizeBytes - a.sizeBytes || byPath(a, b),
  used: (a, b) => (b.usedAt ?? 0) - (a.usedAt ?? 0) || byPath(a, b),
  name: byPath,
}

function byPath(a: FileRow, b: FileRow): number {
  return `${a.repo} ${a.path} ${a.commit}` < `${b.repo} ${b.path} ${b.commit}` ? -1 : 1
}

function formatFiles(rows: readonly FileRow[], shown: readonly FileRow[]): string {
  const now = Date.now()
  const repos = new Set(rows.map((row) => row.repo))
  const lines = shown.map((row) => [
    row.commit.slice(0, 12),
    formatSize(row.sizeBytes),
    row.stored,
    formatAge(row.usedAt, now),
    printable(repos.size > 1 ? `${row.repo}/${row.path}` : row.path),
  ])
  const table = formatColumns([['COMMIT', 'SIZE', 'STORED', 'USED', 'FILE'], ...lines], [1, 3])
  const stored = rows.filter((row) => row.stored === 'yes')
  const keys = new Map(stored.map((row) => [row.key, row.sizeBytes]))
  const sizeBytes = [...keys.values()].reduce((sum, size) => sum + size, 0)
  const of = shown.length < rows.length ? `${shown.length} shown of ` : ''
  return `${table}${of}${plural(rows.length, 'file')}; ${stored.length} stored, ${formatSize(sizeBytes)}\n`
}
