// The YAML file as a flat list of entries, each with its place, and the sections that are more than that. It opens no
// file and knows no setting: any nesting and casing that spells the same name mechanically is taken
// (`cache: {maxSize}`, `cacheMaxSize`, `cache.max-size`).
import { isAlias, isMap, isScalar, isSeq, LineCounter, type Node, type ParsedNode, parseDocument } from 'yaml'
import { type Fault, SYNTAX } from './faults.ts'
import { canonicalName } from './keys.ts'
import type { Placed } from './placed.ts'

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
/** What is not YAML at one place is hardly ever read rightly behind it. */
const SHOWN_ERRORS = 3
/** Who writes `*.bin` means no reference, and must hear of quotes. */
const REFERENCE =
  "expected quotes, as in '*.bin': without them a star begins a YAML alias, which is not supported here"

/** What a file says. */
export interface ConfigFile {
  readonly entries: readonly FileEntry[]
  /** By canonical name: the top-level keys that were asked for as sections. */
  readonly sections: ReadonlyMap<string, Placed>
  readonly faults: readonly Fault[]
}

/**
 * All entries, and whatever made the rest unreadable. An empty value (`token:`) counts as not given. `sectionNames`
 * are canonical names of top-level keys that are kept as they are nested.
 */
export function parseConfigFile(
  text: string,
  fileName: string,
  sectionNames: ReadonlySet<string> = new Set(),
): ConfigFile {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false })
  const entries: FileEntry[] = []
  const sections = new Map<string, Placed>()
  const faults: Fault[] = []
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${fileName}:${line}:${col}`
  }
  const fault = (key: string, offset: number, cure: string): void => {
    faults.push({ key, source: 'file', where: place(offset), cure })
  }

  const { errors } = document
  for (const error of errors.slice(0, SHOWN_ERRORS))
    fault(SYNTAX, error.pos[0], `expected YAML: ${error.message}`)
  const [next] = errors.slice(SHOWN_ERRORS)
  const more = errors.length - SHOWN_ERRORS
  if (next !== undefined)
    fault(SYNTAX, next.pos[0], `and ${more} more after this, which may disappear when the first is fixed`)
  if (faults.length > 0) return { entries, sections, faults }

  const walk = (node: Node, path: readonly string[]): void => {
    const key = path.join('.')
    const offset = node.range?.[0] ?? 0
    if (isMap<ParsedNode, ParsedNode | null>(node) && path.length < DEEPEST) {
      for (const pair of node.items) {
        const name = isScalar(pair.key) ? String(pair.key.value) : undefined
        if (name === undefined)
          fault(key === '' ? '(top level)' : key, offset, 'expected plain names as keys')
        else if (pair.value !== null) {
          if (path.length === 0 && sectionNames.has(canonicalName(name))) section(name, pair.value)
          else walk(pair.value, [...path, name])
        }
      }
      return
    }
    const value = scalarText(node)
    if (path.length === 0) {
      if (value !== '') fault('(top level)', offset, 'expected keys with values, such as port: 8080')
    } else if (value === undefined) {
      fault(key, offset, hasAlias(node) ? REFERENCE : 'expected a single value, or a list of single values')
    } else if (value !== '') {
      entries.push({ name: canonicalName(key), key, text: value, where: place(offset) })
    }
  }
  const section = (key: string, node: Node): void => {
    const name = canonicalName(key)
    if (sections.has(name)) fault(key, node.range?.[0] ?? 0, 'expected this section once')
    sections.set(name, placed(node, [key], { place, fault }))
  }
  if (document.contents !== null) walk(document.contents, [])
  return { entries, sections, faults }
}

/** Where offsets lie in the file, and where its faults go. */
interface Page {
  readonly place: (offset: number) => string
  readonly fault: (key: string, offset: number, cure: string) => void
}

/** A node of a section, with everything below it. */
function placed(node: Node, path: readonly string[], page: Page): Placed {
  const key = path.join('.')
  const offset = node.range?.[0] ?? 0
  const where = page.place(offset)
  if (path.length > DEEPEST) {
    page.fault(key, offset, 'expected plain values, without deep nesting')
    return { kind: 'nothing', where }
  }
  if (isAlias(node)) {
    page.fault(key, offset, REFERENCE)
    // As it was meant, so that one mistake is told once.
    return { kind: 'text', text: `*${node.source}`, where }
  }
  if (isSeq<ParsedNode>(node)) {
    const items = node.items.map((item, index) => placed(item, [...path, String(index + 1)], page))
    return { kind: 'list', where, items }
  }
  if (isMap<ParsedNode, ParsedNode | null>(node)) {
    const entries = node.items.flatMap((pair) => {
      const name = isScalar(pair.key) ? String(pair.key.value) : undefined
      const at = page.place(pair.key.range?.[0] ?? offset)
      if (name === undefined) {
        page.fault(key, offset, 'expected plain names as keys')
        return []
      }
      // An empty value has no place of its own.
      const value =
        pair.value === null
          ? { kind: 'nothing' as const, where: at }
          : placed(pair.value, [...path, name], page)
      return [{ key: name, where: at, value }]
    })
    return { kind: 'map', where, entries }
  }
  if (isScalar(node) && node.value === null) return { kind: 'nothing', where }
  return { kind: 'text', text: scalarText(node) ?? '', where }
}

function hasAlias(node: Node): boolean {
  return isAlias(node) || (isSeq(node) && node.items.some((item) => isAlias(item)))
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
