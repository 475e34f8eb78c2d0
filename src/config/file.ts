// Reads the YAML settings file into a flat list of entries and into sections, all with their positions. It opens no file
// and knows no setting. It accepts every nesting and casing that spells the same name, such as `cache: {maxSize}`,
// `cacheMaxSize` and `cache.max-size`.
import { createRequire } from 'node:module'
import type { Node, ParsedNode } from 'yaml'
import { type Fault, SYNTAX } from './faults.ts'
import type { Placed } from './placed.ts'
import { canonicalName } from './setting-names.ts'

type Yaml = typeof import('yaml')

const load = createRequire(import.meta.url)
/** Loaded when a settings file is read. Most commands read none, and loading the parser takes a quarter of their time. */
const yaml = (): Yaml => load('yaml') as Yaml

/** One value of the file. */
export interface FileEntry {
  /** The canonical name, for comparisons: CACHE_MAX_SIZE. */
  readonly name: string
  /** The name as it is written: cache.maxSize. */
  readonly key: string
  readonly text: string
  /** The position, such as hubmirror.yaml:5:8. */
  readonly where: string
}

/** Settings nest at most two levels deep. The bound keeps a hostile file from overflowing the stack of the reader. */
const MAX_DEPTH = 8
/** After a syntax error the rest of the file is rarely read correctly, so only the first errors are shown. */
const SHOWN_ERRORS = 3
/** A value such as `*.bin` without quotes is a YAML alias, which its author did not mean. */
const ALIAS_FAULT =
  "expected quotes, as in '*.bin': without them a star begins a YAML alias, which is not supported here"

/** The content of a settings file. */
export interface ConfigFile {
  readonly entries: readonly FileEntry[]
  /** The requested sections, by the canonical name of their top-level key. */
  readonly sections: ReadonlyMap<string, Placed>
  readonly faults: readonly Fault[]
}

/**
 * Returns all entries, and the faults of everything that could not be read. An empty value (`token:`) counts as not given.
 * `sectionNames` are the canonical names of the top-level keys to return as sections.
 */
export function parseConfigFile(
  text: string,
  fileName: string,
  sectionNames: ReadonlySet<string> = new Set(),
): ConfigFile {
  const { isMap, isScalar, LineCounter, parseDocument } = yaml()
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
    if (isMap<ParsedNode, ParsedNode | null>(node) && path.length < MAX_DEPTH) {
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
      fault(key, offset, hasAlias(node) ? ALIAS_FAULT : 'expected a single value, or a list of single values')
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

/** Converts offsets into positions in the file, and records faults. */
interface Page {
  readonly place: (offset: number) => string
  readonly fault: (key: string, offset: number, cure: string) => void
}

/** Converts a node of a section, with everything below it. */
function placed(node: Node, path: readonly string[], page: Page): Placed {
  const { isAlias, isMap, isScalar, isSeq } = yaml()
  const key = path.join('.')
  const offset = node.range?.[0] ?? 0
  const where = page.place(offset)
  if (path.length > MAX_DEPTH) {
    page.fault(key, offset, 'expected plain values, without deep nesting')
    return { kind: 'nothing', where }
  }
  if (isAlias(node)) {
    page.fault(key, offset, ALIAS_FAULT)
    // The text as its author meant it, so that one mistake causes one fault.
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
      // An empty value has no position of its own.
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
  const { isAlias, isSeq } = yaml()
  return isAlias(node) || (isSeq(node) && node.items.some((item) => isAlias(item)))
}

/** The text of a value as a flag would spell it; undefined for a value that no flag can spell. */
function scalarText(node: Node): string | undefined {
  const { isAlias, isScalar, isSeq } = yaml()
  if (isAlias(node)) return undefined
  if (isSeq(node)) {
    const items = node.items.map((item) => (isScalar(item) ? scalarText(item) : undefined))
    if (items.some((item) => item === undefined || item === '')) return undefined
    // An empty list is a value, not an absent one.
    return items.length === 0 ? 'none' : items.join(',')
  }
  if (!isScalar(node)) return undefined
  if (node.value === null) return ''
  // `source` is a number as it is written (0010, 1e3), so that no silent conversion happens.
  return typeof node.value === 'string' ? node.value.trim() : (node.source ?? '').trim()
}
