// Prints the README's tables from the tables in the code: `--write` replaces them, `--check` fails when they differ.
// It knows nothing of the README but the marks between which a table stands.
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CONFIG_FILE, envName, fileKey, GROUPS, rows } from '../../src/config/keys.ts'
import { ERRORS } from '../../src/errors.ts'
import { METRICS } from '../../src/telemetry/metrics.ts'

const README = fileURLToPath(new URL('../../README.md', import.meta.url))

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

const TABLES = { settings: settingsTable, errors: errorsTable, metrics: metricsTable }

/** The README with every table made anew, and the names of the tables whose marks it lacks. */
export function renderTables(readme: string): { readonly text: string; readonly missing: readonly string[] } {
  const missing: string[] = []
  let text = readme
  for (const [name, render] of Object.entries(TABLES)) {
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
  if (!existsSync(README)) {
    console.error('README.md does not exist yet; its tables cannot be printed')
    return mode === '--write' ? 0 : 1
  }
  const before = readFileSync(README, 'utf8')
  const { text, missing } = renderTables(before)
  for (const name of missing) {
    console.error(`README.md has no <!-- ${name}:begin --> … <!-- ${name}:end -->; add both lines`)
  }
  if (mode === '--write') {
    if (text !== before) writeFileSync(README, text)
  } else if (text !== before) {
    console.error("README.md differs from the tables in the code; run 'npm run docs:write'")
    return 1
  }
  return missing.length === 0 ? 0 : 1
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = main(process.argv[2])
