// The facts in the table. Each kind of facts has a database in which facts lie in the order of their last use, under a running
// number. The database `index` finds that number. So the least recently used facts are at the beginning, and evicting them
// frees whole pages.

import type { RootDatabase } from 'lmdb'
import { withKeyStart } from '../facts/fact-bytes.ts'
import { FACT_KINDS, type FactKind } from '../store.ts'
import { asBuffer, countOf, openRows, pageBytes, type Rows } from './rows.ts'

/** Where a fact is found: its kind, and `factId` of its key. */
export interface FactName {
  readonly kind: FactKind
  readonly id: Uint8Array
}

/** A change of one fact. */
export type FactChange =
  | (FactName & {
      readonly act: 'put'
      readonly bytes: Uint8Array
      /** Epoch milliseconds. */
      readonly usedAt: number
      /** Leaves a fact unchanged that is there already. */
      readonly ifAbsent?: boolean
    })
  | (FactName & { readonly act: 'remove' })
  /** Records a use, if the fact is there. */
  | (FactName & { readonly act: 'use'; readonly usedAt: number })

/** A fact as it was put. */
export interface FactBytes {
  readonly bytes: Buffer
  /** Epoch milliseconds, in whole seconds. */
  readonly usedAt: number
}

const NUMBER_BYTES = 6
const SECONDS_BYTES = 4
const ID_BYTES = 16
/** Of the length of a fact in a page. */
const LENGTH_BYTES = 4
/** How many facts are evicted before it is decided again which kind takes most. */
const EVICT_AT_ONCE = 64

/** How many databases facts take. */
export const FACT_DATABASES = FACT_KINDS.length + 1

/** Reads and changes facts within the transaction under way, if there is one. Throws as LMDB does. */
export class FactRows {
  readonly #index: Rows
  readonly #facts: Readonly<Record<FactKind, Rows>>
  /** The number of the fact used last, for the transaction under way. Another process may change it after that. */
  readonly #lastNumbers = new Map<FactKind, number>()

  constructor(root: RootDatabase<Buffer, Buffer>) {
    this.#index = openRows(root, 'index')
    this.#facts = {
      files: openRows(root, 'files'),
      refs: openRows(root, 'refs'),
      repos: openRows(root, 'repos'),
      documents: openRows(root, 'documents'),
    }
  }

  /** Undefined when there is no such fact. */
  get(name: FactName): FactBytes | undefined {
    const place = this.#index.get(indexKey(name))
    const bytes = place && this.#facts[name.kind].get(factKey(place, name.id))
    return bytes && { bytes, usedAt: place.readUInt32BE(NUMBER_BYTES) * 1000 }
  }

  /** How many facts of a kind the database has counted. */
  count(kind: FactKind): number {
    return countOf(this.#facts[kind])
  }

  /** The bytes of each fact of a kind, from the least to the most recently used. */
  *walk(kind: FactKind): Generator<{ readonly id: Buffer; readonly bytes: Buffer }> {
    for (const { key, value } of this.#facts[kind].getRange({}))
      yield { id: key.subarray(NUMBER_BYTES), bytes: value }
  }

  /**
   * Up to `limit` facts of a kind that follow `after` in the order of their last use, for `decodeFactPage`. A fact that is used
   * between two pages is on both. Empty when none follow. With `keyStart`, facts have no body, and those with other keys no bytes.
   */
  page(kind: FactKind, after: Uint8Array | undefined, limit: number, keyStart?: Uint8Array): Buffer {
    // The least key that follows it.
    const from = after === undefined ? {} : { start: Buffer.concat([after, Buffer.of(0)]) }
    const parts: Buffer[] = []
    for (const { key, value } of this.#facts[kind].getRange({ ...from, limit })) {
      const bytes = keyStart === undefined ? value : withKeyStart(value, keyStart)
      const length = Buffer.alloc(LENGTH_BYTES)
      length.writeUInt32BE(bytes.length)
      parts.push(key, length, bytes)
    }
    return Buffer.concat(parts)
  }

  /** The pages that facts take. */
  get sizeBytes(): number {
    return pageBytes(this.#index) + FACT_KINDS.reduce((sum, kind) => sum + pageBytes(this.#facts[kind]), 0)
  }

  /** Makes the changes in their order, and evicts until `sizeBytes` is at most `limitBytes`. */
  change(changes: readonly FactChange[], limitBytes: number): void {
    this.#lastNumbers.clear()
    for (const change of changes) this.#apply(change)
    this.#evict(limitBytes)
  }

  #apply(change: FactChange): void {
    const key = indexKey(change)
    const place = this.#index.get(key)
    const facts = this.#facts[change.kind]
    const before = place && factKey(place, change.id)
    if (change.act === 'put') {
      if (before !== undefined && change.ifAbsent === true) return
      if (before !== undefined) facts.removeSync(before)
      this.#append(change, change.bytes, change.usedAt)
    } else if (before !== undefined) {
      const bytes = change.act === 'use' ? facts.get(before) : undefined
      facts.removeSync(before)
      if (change.act === 'use' && bytes !== undefined) this.#append(change, bytes, change.usedAt)
      else this.#index.removeSync(key)
    }
  }

  #append(name: FactName, bytes: Uint8Array, usedAt: number): void {
    const facts = this.#facts[name.kind]
    const number = (this.#lastNumbers.get(name.kind) ?? lastNumber(facts)) + 1
    this.#lastNumbers.set(name.kind, number)
    const place = Buffer.alloc(NUMBER_BYTES + SECONDS_BYTES)
    place.writeUIntBE(number, 0, NUMBER_BYTES)
    place.writeUInt32BE(Math.max(0, Math.floor(usedAt / 1000)), NUMBER_BYTES)
    facts.putSync(factKey(place, name.id), asBuffer(bytes), { append: true })
    this.#index.putSync(indexKey(name), place)
  }

  /** Removes the least recently used facts, of the kind that takes most. */
  #evict(limitBytes: number): void {
    for (;;) {
      const sizeBytes = this.sizeBytes
      if (sizeBytes <= limitBytes) return
      const sizes = FACT_KINDS.map((kind) => ({ kind, bytes: pageBytes(this.#facts[kind]) }))
      const { kind, bytes } = sizes.reduce((most, next) => (next.bytes > most.bytes ? next : most))
      const facts = this.#facts[kind]
      const oldest = [...facts.getKeys({ limit: EVICT_AT_ONCE })]
      if (oldest.length === 0) return
      for (const key of oldest) {
        facts.removeSync(key)
        this.#index.removeSync(indexKey({ kind, id: key.subarray(NUMBER_BYTES) }))
        if (sizeBytes - bytes + pageBytes(facts) <= limitBytes) break
      }
    }
  }
}

/** The facts of a page, each with what to ask for the next page by. */
export function decodeFactPage(page: Buffer): { readonly place: Buffer; readonly bytes: Buffer }[] {
  const facts: { readonly place: Buffer; readonly bytes: Buffer }[] = []
  for (let at = 0; at < page.length; ) {
    const start = at + NUMBER_BYTES + ID_BYTES
    const bytesAt = start + LENGTH_BYTES
    const end = bytesAt + page.readUInt32BE(start)
    facts.push({ place: page.subarray(at, start), bytes: page.subarray(bytesAt, end) })
    at = end
  }
  return facts
}

function lastNumber(facts: Rows): number {
  const [last] = facts.getKeys({ reverse: true, limit: 1 })
  return last?.readUIntBE(0, NUMBER_BYTES) ?? 0
}

function indexKey({ kind, id }: FactName): Buffer {
  return Buffer.concat([Buffer.of(FACT_KINDS.indexOf(kind)), id])
}

/** The running number of an index entry, and the id, by which the index entry is found when the fact is evicted. */
function factKey(place: Buffer, id: Uint8Array): Buffer {
  return Buffer.concat([place.subarray(0, NUMBER_BYTES), id])
}
