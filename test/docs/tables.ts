// Prints the tables of the docs from the tables in the code: `--write` replaces them, `--check` fails when they differ.
// It knows nothing of a file but the marks between which a table stands.
import { readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CONFIG_FILE, envName, fileKey, GROUPS, isLive, rows } from '../../src/config/keys.ts'
import { ERRORS } from '../../src/errors.ts'
import { METRICS } from '../../src/telemetry/metrics.ts'

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...body.map(line)].join('\n')
}

function code(text: string): string {
  return `\`${text}\``
}

function settingsTable(): string {
  const all = [...rows(), { ...CONFIG_FILE, secret: undefined, default: undefined }]
  const body = GROUPS.flatMap((group) =>
    all
      .filter((row) => row.group === group)
      .map((row) => {
        const names = [envName(row.key), ...(row.secret === true ? [envName(fileKey(row.key))] : [])]
        const value = row.default === undefined ? (row.absent ?? '') : code(row.default)
        return [names.map(code).join(', '), value, row.meaning]
      }),
  )
  return table(['environment', 'default', 'meaning'], body)
}

function errorsTable(): string {
  const body = Object.values(ERRORS).map((row) => [
    code(row.header),
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

type Tables = Readonly<Record<string, () => string>>

const README_TABLES: Tables = { settings: settingsTable, errors: errorsTable, metrics: metricsTable }
/** By file, below the top of the checkout. */
const FILES: Readonly<Record<string, Tables>> = {
  'README.md': README_TABLES,
  'docs/reload.md': { reload: reloadTable },
}

/** A file with every table made anew, and the names of the tables whose marks it lacks. */
export function renderTables(
  file: string,
  tables: Tables = README_TABLES,
): { readonly text: string; readonly missing: readonly string[] } {
  const missing: string[] = []
  let text = file
  for (const [name, render] of Object.entries(tables)) {
    const [begin, end] = [`<!-- ${name}:begin -->`, `<!-- ${name}:end -->`]
    const from = text.indexOf(begin)
    const to = text.indexOf(end, from)
    if (from < 0 || to < 0) missing.push(name)
    else text = `${text.slice(0, from + begin.length)}\n${render()}\n${text.slice(to)}`
  }
  return { text, missing }
}

function main(mode: string | undefined): number {
  if (mode !== '--write' && mode !== '--check') {
    console.error('usage: tables.ts --write | --check')
    return 2
  }
  let status = 0
  for (const [name, tables] of Object.entries(FILES)) {
    const path = fileURLToPath(new URL(`../../${name}`, import.meta.url))
    const before = readFileSync(path, 'utf8')
    const { text, missing } = renderTables(before, tables)
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
