// Reads a section of a settings file strictly. Each fault is recorded with its position, its value and the cure.

import type { Fault } from './faults.ts'
import type { Parsed } from './parse.ts'
import type { Placed, PlacedEntry } from './placed.ts'
import { suggest } from './suggest.ts'

/** Reads nodes of a section. For a node with a fault it records the fault and returns undefined. */
export class SectionReader {
  readonly #faults: Fault[]

  constructor(faults: Fault[]) {
    this.#faults = faults
  }

  fault(key: string, at: { readonly where: string; readonly text?: string }, cure: string): undefined {
    const value = at.text === undefined ? {} : { value: at.text.replace(/hf_\w{8,}/g, '•••') }
    this.#faults.push({ key, source: 'file', where: at.where, ...value, cure })
    return undefined
  }

  /** The entries of a map by key. An entry whose key is not in `keys` is a fault. */
  map(node: Placed, key: string, keys: readonly string[]): ReadonlyMap<string, PlacedEntry> | undefined {
    if (node.kind !== 'map')
      return this.fault(key, textOf(node), `expected keys with values: ${keys.join(', ')}`)
    for (const entry of node.entries) {
      if (keys.includes(entry.key)) continue
      const near = suggest(entry.key, keys)
      const hint = near === undefined ? `expected ${keys.join(', ')}` : `did you mean ${near}?`
      this.fault(`${key}.${entry.key}`, { where: entry.where }, `no such key; ${hint}`)
    }
    return new Map(node.entries.map((entry) => [entry.key, entry]))
  }

  text(entry: PlacedEntry | undefined, key: string): Extract<Placed, { kind: 'text' }> | undefined {
    if (entry === undefined) return undefined
    const { value } = entry
    if (value.kind === 'text' && value.text !== '') return value
    return this.fault(key, textOf(value), 'expected a single value')
  }

  /** One value or a list of values, each parsed by itself. An empty list is a fault: it would never match. */
  list<T>(
    entry: PlacedEntry | undefined,
    key: string,
    parse: (text: string) => Parsed<T>,
  ): readonly T[] | undefined {
    if (entry === undefined) return undefined
    const { value } = entry
    const items = value.kind === 'list' ? value.items : [value]
    if (items.length === 0)
      return this.fault(key, value, 'expected at least one value; an empty list would never match')
    const found = items.flatMap((item): T[] => {
      if (item.kind !== 'text' || item.text === '') {
        this.fault(key, textOf(item), 'expected a value, or a list of values')
        return []
      }
      const parsed = parse(item.text)
      if ('value' in parsed) return [parsed.value]
      this.fault(key, item, parsed.fault)
      return []
    })
    return found.length === 0 ? undefined : found
  }

  one<T>(entry: PlacedEntry | undefined, key: string, parse: (text: string) => Parsed<T>): T | undefined {
    const text = this.text(entry, key)
    if (text === undefined) return undefined
    const parsed = parse(text.text)
    return 'value' in parsed ? parsed.value : this.fault(key, text, parsed.fault)
  }
}

function textOf(node: Placed): { readonly where: string; readonly text?: string } {
  return node.kind === 'text' ? node : { where: node.where }
}
