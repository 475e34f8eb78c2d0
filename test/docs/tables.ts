// Prints the tables of the docs from the tables in the code. `--write` replaces them, `--check` fails when they differ.
// A table stands between two marks, `<!-- name:begin -->` and `<!-- name:end -->`. All other text of a file stays as it is.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { isLive, rows } from '../../src/config/keys.ts'
import { CONFIG_FILE, GROUPS } from '../../src/config/setting.ts'
import { envName, fileKey } from '../../src/config/setting-names.ts'
import { CHECKS, type Finding } from '../../src/doctor/checks.ts'
import { FINDINGS } from '../../src/doctor/table.ts'
import { ERRORS } from '../../src/errors.ts'
import { cacheStatus, xCache } from '../../src/http/cache-status.ts'
import { METRICS } from '../../src/telemetry/metrics.ts'
import { OUTCOMES, type Outcome } from '../../src/telemetry/observer.ts'
import { clientsTable, pairsTable } from '../clients/matrix/table.ts'

/** What each outcome means to a reader of the answer, the log or the metrics. */
const OUTCOME_MEANINGS: Readonly<Record<Outcome, string>> = {
  hit: 'Served from the disk. The Hub was not asked.',
  revalidated: 'Served from the disk, after a question to the Hub.',
  stale:
    'Served from the disk, because the Hub is away (`detail="origin-away"`) or has asked this credential to wait (`detail="origin-quota"`).',
  miss: 'Fetched from the Hub now, and stored.',
  'partial-hit': 'Some blocks of the file were on the disk, the others are fetched now.',
  coalesced: 'Served from a transfer that another client had started.',
  bypass: 'Passed through and not stored: it is not public, there was no room, or it is not a file.',
  refused:
    'The Hub refused it. With `detail="refused-here"` this mirror did: a rule, a limit, a network, a mirror token, or a mirror without writes.',
  error: 'The mirror or the Hub failed. `X-Error-Code` and `X-Error-Message` say how.',
  own: "One of the mirror's own routes, such as `/healthz`, or its page in place of one of the Hub's.",
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...body.map(line)].join('\n')
}

function code(text: string): string {
  return `\`${text}\``
}

/** One heading and one table for each group of settings. */
function settingsTables(): string {
  const all = [...rows(), { ...CONFIG_FILE, secret: undefined, default: undefined }]
  const sections = GROUPS.map((group) => {
    const body = all
      .filter((row) => row.group === group)
      .map((row) => {
        const names = [envName(row.key), ...(row.secret === true ? [envName(fileKey(row.key))] : [])]
        const value = row.default === undefined ? (row.absent ?? '') : code(row.default)
        return [names.map(code).join(', '), value, row.meaning]
      })
    return `## ${group}\n\n${table(['environment', 'default', 'meaning'], body)}`
  })
  return `\n${sections.join('\n\n')}\n`
}

function errorsTable(): string {
  const body = Object.values(ERRORS).map((row) => [
    'repoHeader' in row ? `${code(row.header)}; about a repo: ${code(row.repoHeader)}` : code(row.header),
    String(row.status),
    row.mayRetry ? 'yes' : 'no',
    row.message,
    row.operator,
  ])
  return table(['`X-Error-Code`', 'status', 'retry', 'what clients read', 'what to look at'], body)
}

function metricsTable(): string {
  const body = Object.values(METRICS).map((row) => [
    code(row.name),
    row.kind,
    row.labels.length === 0 ? '–' : row.labels.map(code).join(', '),
    row.help,
  ])
  return table(['metric', 'kind', 'labels', 'meaning'], body)
}

function outcomesTable(): string {
  const body = OUTCOMES.map((outcome) => {
    const word = xCache(outcome)
    // Without a status of the Hub it would be the mirror's own refusal.
    const status = cacheStatus(outcome, outcome === 'refused' ? { fwdStatus: 403 } : {})
    return [
      word === undefined ? '–' : code(word),
      status === undefined ? '–' : code(status),
      code(outcome),
      OUTCOME_MEANINGS[outcome],
    ]
  })
  return table(['`X-Cache`', '`Cache-Status`', '`outcome` in log and metrics', 'meaning'], body)
}

function reloadTable(): string {
  const all = [...rows(), { ...CONFIG_FILE, name: CONFIG_FILE.key, secret: undefined }]
  const body = GROUPS.flatMap((group) =>
    all
      .filter((row) => row.group === group)
      .map((row) => [code(row.key), code(envName(row.key)), isLive(row.name) ? 'reload' : '**restart**']),
  )
  const sections = ['policies', 'tokens'].map((key) => [code(key), 'only in the file', 'reload'])
  return table(['key in the file', 'environment', 'a change needs a'], [...body, ...sections])
}

/** What each check of the doctor looks at. */
function checksTable(): string {
  return table(
    ['check', 'it is `ok` if'],
    Object.entries(CHECKS).map(([id, what]) => [code(id), what]),
  )
}

/** One section for each finding that has a symptom. The four usual causes of a failed login come first. */
function troubleshooting(): string {
  const rows: readonly Finding[] = Object.values(FINDINGS)
  const known = rows.filter(({ symptom }) => symptom !== undefined)
  const text = (words: string): string =>
    words
      .replaceAll(/ \{other\}/g, '')
      .replaceAll(/\{(\w+)\}/g, (_whole, name: string) => `\`${name.toUpperCase()}\``)
  const sections = known.map((row) => {
    const { check, message, cure = '', symptom = '', command = 'hubmirror doctor' } = row
    return [
      `### ${symptom}`,
      `**Cause** (check ${code(check)}): ${text(message)}`,
      `**Cure**: ${text(cure)}`,
      `\`\`\`sh\n${command}\n\`\`\``,
    ].join('\n\n')
  })
  return [
    '## The four usual causes of a failed login',
    ...sections.slice(0, 5),
    '## All others, in the order of the checks',
    ...sections.slice(5),
  ].join('\n\n')
}

const TABLES = {
  troubleshooting,
  checks: checksTable,
  settings: settingsTables,
  errors: errorsTable,
  metrics: metricsTable,
  outcomes: outcomesTable,
  reload: reloadTable,
  clients: clientsTable,
  pairs: pairsTable,
} as const satisfies Record<string, () => string>
export type TableName = keyof typeof TABLES

/** Which tables each file holds, by its path in the checkout. */
const FILES: Readonly<Record<string, readonly TableName[]>> = {
  'docs/troubleshooting.md': ['checks', 'troubleshooting'],
  'docs/reference/settings.md': ['settings'],
  'docs/reference/errors.md': ['errors'],
  'docs/reference/metrics.md': ['metrics'],
  'docs/reference/headers.md': ['outcomes'],
  'docs/reload.md': ['reload'],
  'docs/clients.md': ['clients', 'pairs'],
}

/** Returns the text of a file with the named tables printed again, and the names of those whose marks it lacks. */
export function renderTables(
  file: string,
  names: readonly TableName[],
): { readonly text: string; readonly missing: readonly TableName[] } {
  const missing: TableName[] = []
  let text = file
  for (const name of names) {
    const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`]
    const from = text.indexOf(begin)
    const to = text.indexOf(end, from)
    if (from < 0 || to < 0) missing.push(name)
    else text = `${text.slice(0, from + begin.length)}\n${TABLES[name]()}\n${text.slice(to)}`
  }
  return { text, missing }
}

function main(mode: string | undefined): number {
  if (mode !== '--write' && mode !== '--check') {
    console.error('usage: tables.ts --write | --check')
    return 2
  }
  let status = 0
  for (const [name, tableNames] of Object.entries(FILES)) {
    const path = fileURLToPath(new URL(`../../${name}`, import.meta.url))
    const before = readFileSync(path, 'utf8')
    const { text, missing } = renderTables(before, tableNames)
    for (const each of missing)
      console.error(`${name} has no <!-- ${each}:begin --> … <!-- ${each}:end -->; add both lines`)
    if (missing.length > 0) status = 1
    if (text === before) continue
    if (mode === '--write') {
      writeFileSync(path, text)
    } else {
      console.error(`${name} differs from the tables in the code; run 'npm run docs:write'`)
      status = 1
    }
  }
  return status
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv[2])
