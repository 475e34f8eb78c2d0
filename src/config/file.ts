// The YAML file as a flat list of entries, each with its place. It opens no file and knows no setting: any nesting
// and casing that spells the same name mechanically is taken (`cache: {maxSize}`, `cacheMaxSize`, `cache.max-size`).
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parseDocument } from 'yaml'
import type { Fault } from './faults.ts'
import { canonicalName } from './keys.ts'

/** One value of the file. */
export interface FileEntry {
  /** By which it is compared: CACHE_MAX_SIZE. */
  readonly name: string
  /** As it is written: cache.maxSize. */
  readonly key: string
  readonly text: string
  /** hubmirror.yaml:5:8 */
  readonly where: string
}

/** Settings nest two deep at the most; the bound keeps a hostile file from nesting the reader off its stack. */
const DEEPEST = 8

/** All entries, and whatever made the rest unreadable. An empty value (`token:`) counts as not given. */
export function parseConfigFile(
  text: string,
  fileName: string,
): { readonly entries: readonly FileEntry[]; readonly faults: readonly Fault[] } {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const entries: FileEntry[] = []
  const faults: Fault[] = []
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${fileName}:${line}:${col}`
  }
  const fault = (key: string, offset: number, cure: string): void => {
    faults.push({ key, source: 'file', where: place(offset), cure })
  }

  for (const error of document.errors) fault('(syntax)', error.pos[0], `expected YAML: ${error.message}`)
  if (faults.length > 0) return { entries, faults }

  const walk = (node: Node, path: readonly string[]): void => {
    const key = path.join('.')
    const offset = node.range?.[0] ?? 0
    if (isMap<ParsedNode, ParsedNode | null>(node) && path.length < DEEPEST) {
      for (const pair of node.items) {
        const name = isScalar(pair.key) ? String(pair.key.value) : undefined
        if (name === undefined)
          fault(key === '' ? '(top level)' : key, offset, 'expected plain names as keys')
        else if (pair.value !== null) walk(pair.value, [...path, name])
      }
      return
    }
    const value = scalarText(node)
    if (path.length === 0) {
      if (value !== '') fault('(top level)', offset, 'expected keys with values, such as port: 8080')
    } else if (value === undefined) {
      fault(key, offset, 'expected a single value, or a list of single values')
    } else if (value !== '') {
      entries.push({ name: canonicalName(key), key, text: value, where: place(offset) })
    }
  }
  if (document.contents !== null) walk(document.contents, [])
  return { entries, faults }
}

/** The text of a value as a flag would spell it; undefined for what no flag can spell. */
function scalarText(node: Node): string | undefined {
  if (isAlias(node)) return undefined
  if (isSeq(node)) {
    const items = node.items.map((item) => (isScalar(item) ? scalarText(item) : undefined))
    if (items.some((item) => item === undefined || item === '')) return undefined
    // An empty list is a choice, not an absence.
    return items.length === 0 ? 'none' : items.join(',')
  }
  if (!isScalar(node)) return undefined
  if (node.value === null) return ''
  // The source keeps a number as it was written (0010, 1e3), so that no conversion goes unnoticed.
  return typeof node.value === 'string' ? node.value.trim() : (node.source ?? '').trim()
}
