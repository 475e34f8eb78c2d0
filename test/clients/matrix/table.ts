// Prints what a run found (docs/clients.json) as the tables of docs/clients.md.

import prettyBytes from 'pretty-bytes'
import { type Client, COLUMNS } from './client.ts'
import { CLIENTS, UNPLAYED } from './clients.ts'
import { pairNames } from './pairs.ts'
import { type Cell, type Pairs, readResults } from './results.ts'

/** The footnotes of a table, each of which is printed once. */
class Footnotes {
  readonly #texts: string[] = []

  /** The mark of a footnote. */
  mark(text: string): string {
    if (!this.#texts.includes(text)) this.#texts.push(text)
    return `<sup>${this.#texts.indexOf(text) + 1}</sup>`
  }

  print(): string {
    return this.#texts.map((text, index) => `${index + 1}. ${text}`).join('\n')
  }
}

/** The table of clients, with its footnotes below it. Its rows are those of the definition, played or not. */
export function clientsTable(): string {
  const notes = new Footnotes()
  const lines = [
    ...CLIENTS.map((client) => rowOf(client, notes)),
    ...Object.entries(UNPLAYED).map(([name, why]) => unplayed(name, why, notes)),
  ]
  return `${table(['client', 'version', ...COLUMNS], lines)}\n\n${notes.print()}`
}

/** Which client reads, offline, what another one has downloaded. */
export function pairsTable(): string {
  const { pairs } = readResults()
  const names = pairNames()
  return table(
    ['downloaded by', ...names.map((reader) => `read by ${reader}`)],
    names.map((downloader) => [
      downloader,
      ...names.map((reader) => pairOf(pairs[downloader] ?? {}, reader)),
    ]),
  )
}

function pairOf(found: Pairs[string], reader: string): string {
  const passed = found[reader]
  return passed === undefined ? '–' : passed ? '✓' : '✗'
}

function rowOf(client: Client, notes: Footnotes): readonly string[] {
  const { name, absent, isReplayed, cannot, notes: own } = client
  const row = readResults().rows[name]
  if (row === undefined) return unplayed(name, absent, notes)
  const texts = { ...own, ...cannot }
  const played = isReplayed === true ? 'replayed' : row.version
  return [name, played, ...COLUMNS.map((column) => cellOf(row.cells[column], texts[column], notes))]
}

function unplayed(name: string, why: string, notes: Footnotes): readonly string[] {
  return [name, `not played${notes.mark(why)}`, ...COLUMNS.map(() => '–')]
}

function cellOf(cell: Cell | undefined, note: string | undefined, notes: Footnotes): string {
  const mark = note === undefined ? '' : notes.mark(note)
  if (cell === undefined) return `–${mark}`
  const { passed, word, requests, bytes } = cell
  const cost = [
    ...(requests > 0 ? [requests === 1 ? '1 request' : `${requests} requests`] : []),
    ...(bytes > 0 ? [prettyBytes(bytes, { maximumFractionDigits: 0 })] : []),
  ]
  return `${passed ? '✓' : '✗'}${mark} ${[...cost, ...(word === undefined ? [] : [word])].join(', ')}`.trimEnd()
}

function table(head: readonly string[], body: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), `|${head.map(() => '---').join('|')}|`, ...body.map(line)].join('\n')
}
