import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { rows } from '../../../src/config/keys.ts'
import { CONFIG_FILE } from '../../../src/config/setting.ts'
import { envName } from '../../../src/config/setting-names.ts'
import { ERRORS } from '../../../src/errors.ts'
import { METRICS } from '../../../src/telemetry/metrics.ts'
import { OUTCOMES } from '../../../src/telemetry/observer.ts'
import { renderTables, type TableName } from '../../docs/tables.ts'

const ALL = ['settings', 'errors', 'metrics', 'outcomes', 'reload'] as const satisfies readonly TableName[]
const marks = (name: TableName, inside = '') => `<!-- ${name}:begin -->${inside}\n<!-- ${name}:end -->`
const page = (inside = '') => `# Title\n${ALL.map((name) => marks(name, inside)).join('\nbetween\n')}\nend\n`

describe('the generated tables of the docs', () => {
  it('replace the text between their marks, and no other text', () => {
    const { text, missing } = renderTables(page('\n| row of before |'), ALL)
    expect(missing).toEqual([])
    expect(text).not.toContain('row of before')
    expect(text).toMatch(/^# Title\n<!-- settings:begin -->\n\n## Listening\n\n\| environment/)
    expect(text).toContain('<!-- settings:end -->\nbetween\n<!-- errors:begin -->')
    expect(text.endsWith('<!-- reload:end -->\nend\n')).toBe(true)
  })

  it('do not change once they are written', () => {
    const { text } = renderTables(page(), ALL)
    expect(renderTables(text, ALL).text).toBe(text)
  })

  it('have a row for every setting, error, metric and outcome', () => {
    const { text } = renderTables(page(), ALL)
    for (const row of [...rows(), CONFIG_FILE]) expect(text).toContain(`| \`${envName(row.key)}\``)
    for (const { header } of Object.values(ERRORS)) expect(text).toContain(`| \`${header}\``)
    for (const { name } of Object.values(METRICS)) expect(text).toContain(`| \`${name}\``)
    for (const outcome of OUTCOMES) expect(text).toContain(` | \`${outcome}\` | `)
    expect(text).toContain('| `MirrorIsReadOnly` | 403 | no |')
    expect(text).toContain('| `PolicyDenied`; about a repo: `GatedRepo` | 403 | no |')
    expect(text).toContain('| `hubmirror_requests_total` | counter | `route`, `outcome`, `status` |')
    expect(text).toContain('| `HIT` | `hubmirror; hit` | `hit` |')
  })

  it('keep the columns of a table, whatever a cell holds', () => {
    const lines = renderTables(page(), ALL).text.split('\n')
    const columns = (line: string) => line.match(/(?<!\\)\|/g)?.length
    const broken = lines.filter((line, index) => {
      const before = lines[index - 1] ?? ''
      return line.startsWith('|') && before.startsWith('|') && columns(line) !== columns(before)
    })
    expect(broken).toEqual([])
    expect(new Set(lines.filter((line) => line.startsWith('|')).map(columns))).toEqual(new Set([4, 5, 6]))
  })

  it('stand on pages of the reference, so that the README stays a page of at most 150 lines', () => {
    const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8')
    expect(readme.split('\n').length - 1).toBeLessThanOrEqual(150)
    expect(renderTables(readme, ALL).missing).toEqual(ALL)
  })

  it('report the marks that a file lacks', () => {
    const { text, missing } = renderTables(marks('errors'), ['settings', 'errors', 'metrics'])
    expect(missing).toEqual(['settings', 'metrics'])
    expect(text).toContain('X-Error-Code')
  })
})
