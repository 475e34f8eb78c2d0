import { describe, expect, it } from 'vitest'
import { CONFIG_FILE, envName, rows } from '../../../src/config/keys.ts'
import { renderTables } from '../../docs/tables.ts'

const marks = (name: string, inside = '') => `<!-- ${name}:begin -->${inside}\n<!-- ${name}:end -->`
const readme = (inside = '') =>
  `# Title\n${marks('settings', inside)}\nbetween\n${marks('errors', inside)}\n${marks('metrics', inside)}\nend\n`

describe('the tables of the README', () => {
  it('replace what stands between their marks, and nothing else', () => {
    const { text, missing } = renderTables(readme('\n| row of before |'))
    expect(missing).toEqual([])
    expect(text).not.toContain('row of before')
    expect(text).toMatch(/^# Title\n<!-- settings:begin -->\n\| environment/)
    expect(text).toContain('<!-- settings:end -->\nbetween\n<!-- errors:begin -->')
    expect(text.endsWith('<!-- metrics:end -->\nend\n')).toBe(true)
  })

  it('do not change once they are written', () => {
    const { text } = renderTables(readme())
    expect(renderTables(text).text).toBe(text)
  })

  it('have a row for every setting, error and metric', () => {
    const { text } = renderTables(readme())
    for (const row of [...rows(), CONFIG_FILE]) expect(text).toContain(`| \`${envName(row.key)}\``)
    expect(text).toContain('| `MirrorIsReadOnly` | 403 | no |')
    expect(text).toContain('| `hubmirror_requests_total` | counter | `route`, `outcome`, `status` |')
  })

  it('keep the columns of a table, whatever a cell holds', () => {
    const columns = renderTables(readme())
      .text.split('\n')
      .filter((line) => line.startsWith('|'))
      .map((line) => line.match(/(?<!\\)\|/g)?.length)
    expect(new Set(columns)).toEqual(new Set([4, 5, 6]))
  })

  it('say which marks are missing', () => {
    const { text, missing } = renderTables(marks('errors'))
    expect(missing).toEqual(['settings', 'metrics'])
    expect(text).toContain('X-Error-Code')
  })
})
