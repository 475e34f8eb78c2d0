// One pass over the bytes of a JSON document. It checks the grammar (RFC 8259), and notes what must be changed before
// clients of the mirror may see the document. Bytes that need no change are never decoded, so numbers, key order,
// duplicate keys and escapes stay as the Hub wrote them. The pass can be made in slices, so that a large document
// delays no other request.

import { isUtf8 } from 'node:buffer'
import { MirrorError } from '../errors.ts'

/** A piece that is removed: a member of an object, with the comma that belongs to it. */
export const DROP = 0
/** The base of a URL of the origin, within a string. */
export const BASE = 1
/** A value that becomes `false`. */
export const FALSE = 2

/** What must be changed in a document, for any caller. */
export interface DocumentPlan {
  /** Start, end (exclusive) and kind (DROP, BASE, FALSE) of each replaced piece, in order and without overlap. */
  readonly edits: Uint32Array
  /**
   * The places of the values of the requested members of the document itself. Of a repeated name the last one counts.
   */
  readonly members: ReadonlyMap<string, readonly [start: number, end: number]>
}

export interface ScanOptions {
  /** Whether the document must be an array, or an object; undefined if it may be either. */
  readonly isList: boolean | undefined
  /** Beginnings of URLs that are the origin's: ASCII, lower case, without a slash at the end. */
  readonly bases: readonly string[]
  /** Beginnings of the paths behind a base, each with a slash at both ends: other URLs stay. By default any path is changed. */
  readonly below?: readonly string[]
  readonly stripXet: boolean
  /** The keys of values that people wrote. The default is WRITTEN_BY_PEOPLE. */
  readonly quoted?: readonly string[]
  /** Names of members of the document itself whose places are noted. */
  readonly members?: readonly string[]
}

/** The depth of nested containers that is accepted. */
const MAX_DEPTH = 200

/** The values below these keys are text that people wrote. It stays unchanged, URLs included. */
const WRITTEN_BY_PEOPLE = ['cardData', 'config', 'widgetData', 'title', 'message', 'description']

type State = 'value' | 'first-value' | 'key' | 'first-key' | 'after' | 'end'

/** What a key means for its value, as bits: it is removed, it becomes false, people wrote it, its place is noted. */
const DROPPED = 1
const SWITCH = 2
const QUOTED = 4
const NOTED = 8

interface KnownKey {
  readonly name: string
  readonly bytes: Buffer
  role: number
}

/** A container that is not closed yet. */
interface Frame {
  readonly outer: Frame | undefined
  /** The container within it that was open last. */
  inner: Frame | undefined
  /** 0 is the level around the document. */
  readonly depth: number
  isObject: boolean
  /** Whether its content was written by people. */
  isQuoted: boolean
  /** The bits of the member that is being read. */
  role: number
  key: string
  keyStart: number
  valueStart: number
  /** How many edits there were before the value. */
  editsBefore: number
  /** Where the comma before the member stands. */
  comma: number
  /** Whether an earlier member stays. */
  hasKept: boolean
  /** Where a member began that is removed together with the comma behind it; -1 when there is none. */
  dropStart: number
  dropEnd: number
}

/** Throws MirrorError (origin_bad_answer), from the constructor and from `run`, if the bytes are no such document. */
export class DocumentScan {
  readonly #body: Buffer
  readonly #options: ScanOptions
  readonly #bases: readonly Buffer[]
  /** How much of a string says whether it is a URL of the origin. */
  readonly #reach: number
  readonly #below: readonly Buffer[] | undefined
  // By length: most keys of a document are none of these.
  readonly #keys: (KnownKey[] | undefined)[] = []
  readonly #switchDepth: number
  #frame: Frame
  #state: State = 'value'
  #position = 0
  readonly #edits: number[] = []
  readonly #members = new Map<string, readonly [number, number]>()

  constructor(body: Buffer, options: ScanOptions) {
    this.#body = body
    this.#options = options
    this.#bases = options.bases.map((base) => Buffer.from(base, 'latin1'))
    this.#below = options.below?.map((path) => Buffer.from(path, 'latin1'))
    const longest = (texts: readonly Buffer[] = []): number =>
      Math.max(0, ...texts.map(({ length }) => length))
    this.#reach = longest(this.#bases) + Math.max(1, longest(this.#below))
    this.#switchDepth = options.isList === true ? 2 : 1
    this.#frame = newFrame(undefined)
    if (!isUtf8(body)) throw noJson()
    // A byte order mark, which a reader may ignore (RFC 8259, section 8.1).
    if (body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf) this.#position = 3
    for (const name of options.quoted ?? WRITTEN_BY_PEOPLE) this.#know(name, QUOTED)
    if (options.stripXet) {
      this.#know('xetHash', DROPPED)
      this.#know('xetEnabled', SWITCH)
    }
    for (const name of options.members ?? []) this.#know(name, NOTED)
  }

  /** Reads about `maxBytes` more, at least one token. Returns whether the end has been reached. */
  run(maxBytes = Number.POSITIVE_INFINITY): boolean {
    const { length } = this.#body
    const stop = Math.min(length, this.#position + maxBytes)
    let position = this.#position
    while (position < stop) position = this.#step(position)
    this.#position = position
    if (position < length) return false
    if (this.#state !== 'end') throw noJson()
    return true
  }

  /** The result, once `run` has reached the end. */
  get plan(): DocumentPlan {
    return { edits: Uint32Array.from(this.#edits), members: this.#members }
  }

  #know(name: string, role: number): void {
    const known = (this.#keys[name.length] ??= [])
    const same = known.find((key) => key.name === name)
    if (same === undefined) known.push({ name, bytes: Buffer.from(name), role })
    else same.role |= role
  }

  #step(from: number): number {
    const body = this.#body
    let position = from
    let byte = body[position]
    while (isSpace(byte)) byte = body[++position]
    if (byte === undefined) return position
    switch (this.#state) {
      case 'first-value':
        return byte === CLOSE_ARRAY ? this.#close(position) : this.#value(position, byte)
      case 'value':
        return this.#value(position, byte)
      case 'first-key':
        return byte === CLOSE_OBJECT ? this.#close(position) : this.#key(position, byte)
      case 'key':
        return this.#key(position, byte)
      case 'after':
        return this.#after(position, byte)
      case 'end':
        throw noJson()
      default:
        return this.#state satisfies never
    }
  }

  #value(position: number, byte: number): number {
    const frame = this.#frame
    frame.valueStart = position
    frame.editsBefore = this.#edits.length
    const isObject = byte === OPEN_OBJECT
    const isContainer = isObject || byte === OPEN_ARRAY
    if (frame.depth === 0 && (!isContainer || isObject === this.#options.isList)) throw badShape()
    if (isContainer) return this.#open(position, isObject)
    if (byte !== QUOTE) return this.#ended(scalarEnd(this.#body, position, byte))
    const end = stringEnd(this.#body, position)
    if (!frame.isQuoted && (frame.role & QUOTED) === 0) this.#url(position + 1, end - 1)
    return this.#ended(end)
  }

  #open(position: number, isObject: boolean): number {
    const parent = this.#frame
    if (parent.depth > MAX_DEPTH) throw badAnswer('The Hub sent JSON that is nested too deeply.')
    // Frames are reused: a document has many objects, and few levels.
    const frame = (parent.inner ??= newFrame(parent))
    frame.isObject = isObject
    frame.isQuoted = parent.isQuoted || (parent.role & QUOTED) !== 0
    frame.role = 0
    frame.hasKept = false
    frame.dropStart = -1
    this.#frame = frame
    this.#state = isObject ? 'first-key' : 'first-value'
    return position + 1
  }

  #key(position: number, byte: number): number {
    if (byte !== QUOTE) throw noJson()
    const body = this.#body
    const frame = this.#frame
    const end = stringEnd(body, position)
    const key = this.#knownKey(position + 1, end - 1)
    frame.keyStart = position
    frame.key = key?.name ?? ''
    frame.role = key === undefined ? 0 : key.role & this.#rolesHere(frame.depth)
    let colon = end
    while (isSpace(body[colon])) colon += 1
    if (body[colon] !== COLON) throw noJson()
    this.#state = 'value'
    return colon + 1
  }

  #knownKey(start: number, end: number): KnownKey | undefined {
    const body = this.#body
    const known = this.#keys[end - start]
    if (known !== undefined) {
      for (const key of known) if (startsWith(body, start, key.bytes)) return key
    }
    // A key may be written with escapes.
    if (end - start > MAX_ESCAPED_KEY || !hasEscape(body, start, end)) return undefined
    const name = JSON.parse(body.toString('utf8', start - 1, end + 1)) as string
    return this.#keys[name.length]?.find((key) => key.name === name)
  }

  /**
   * The switch for Xet is a member of the document, or of the entries of a list. Places are noted for members of the
   * document only.
   */
  #rolesHere(depth: number): number {
    return DROPPED | QUOTED | (depth === this.#switchDepth ? SWITCH : 0) | (depth === 1 ? NOTED : 0)
  }

  /** A value ends before `end`. */
  #ended(end: number): number {
    const frame = this.#frame
    this.#state = frame.depth === 0 ? 'end' : 'after'
    if (!frame.isObject) return end
    const { role, valueStart } = frame
    if ((role & DROPPED) !== 0) {
      // The changes noted within a removed member are removed with it.
      this.#edits.length = frame.editsBefore
      if (frame.hasKept) this.#edits.push(frame.comma, end, DROP)
      else {
        frame.dropStart = frame.keyStart
        frame.dropEnd = end
      }
      return end
    }
    frame.hasKept = true
    if ((role & SWITCH) !== 0 && !startsWith(this.#body, valueStart, FALSE_TEXT)) {
      this.#edits.length = frame.editsBefore
      this.#edits.push(valueStart, end, FALSE)
    }
    if ((role & NOTED) !== 0) this.#members.set(frame.key, [valueStart, end])
    return end
  }

  #after(position: number, byte: number): number {
    const frame = this.#frame
    if (byte !== COMMA) {
      if (byte !== (frame.isObject ? CLOSE_OBJECT : CLOSE_ARRAY)) throw noJson()
      return this.#close(position)
    }
    if (frame.dropStart !== -1) {
      this.#edits.push(frame.dropStart, position + 1, DROP)
      frame.dropStart = -1
    }
    frame.comma = position
    this.#state = frame.isObject ? 'key' : 'value'
    return position + 1
  }

  #close(position: number): number {
    const frame = this.#frame
    if (frame.dropStart !== -1) this.#edits.push(frame.dropStart, frame.dropEnd, DROP)
    this.#frame = frame.outer ?? frame
    return this.#ended(position + 1)
  }

  /** Notes the base of a string between `start` and `end` that is a URL of the origin. */
  #url(start: number, end: number): void {
    const body = this.#body
    const first = body[start]
    if (first === undefined || ((first | 0x20) !== 0x68 && first !== BACKSLASH)) return
    for (const base of this.#bases) {
      const baseEnd = start + base.length
      if (baseEnd > end || !startsWithIgnoringCase(body, start, base)) continue
      const next = body[baseEnd]
      if (baseEnd !== end && next !== SLASH && next !== QUESTION) continue
      const isBelow = this.#below?.some((path) => startsWith(body, baseEnd, path)) ?? true
      if (!isBelow) continue
      this.#edits.push(start, baseEnd, BASE)
      return
    }
    if (hasEscape(body, start, Math.min(end, start + this.#reach))) this.#escapedUrl(start, end)
  }

  /** The same for a string whose beginning has escapes, or letters that become ASCII only by case mapping. */
  #escapedUrl(start: number, end: number): void {
    const { text, ends } = beginning(this.#body, start, end, this.#reach)
    for (const base of this.#options.bases) {
      if (text.slice(0, base.length).toLowerCase() !== base) continue
      const next = text[base.length]
      if (next !== undefined && next !== '/' && next !== '?') continue
      if (this.#options.below?.some((path) => text.startsWith(path, base.length)) === false) continue
      this.#edits.push(start, ends[base.length - 1] ?? end, BASE)
      return
    }
  }
}

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const SLASH = 0x2f
const QUESTION = 0x3f
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d
const OPEN_ARRAY = 0x5b
const CLOSE_ARRAY = 0x5d
/** No key that matters is longer, with each of its characters written as six. */
const MAX_ESCAPED_KEY = 6 * 16

function newFrame(outer: Frame | undefined): Frame {
  return {
    outer,
    inner: undefined,
    depth: outer === undefined ? 0 : outer.depth + 1,
    isObject: false,
    isQuoted: false,
    role: 0,
    key: '',
    keyStart: 0,
    valueStart: 0,
    editsBefore: 0,
    comma: 0,
    hasKept: false,
    dropStart: -1,
    dropEnd: 0,
  }
}

/** Returns the end of the string that begins at `start`, behind its closing quote. */
function stringEnd(body: Buffer, start: number): number {
  let position = start + 1
  for (;;) {
    const byte = body[position]
    if (byte === QUOTE) return position + 1
    if (byte === undefined || byte < 0x20) throw noJson()
    position = byte === BACKSLASH ? escapeEnd(body, position) : position + 1
  }
}

function escapeEnd(body: Buffer, start: number): number {
  const byte = body[start + 1]
  if (byte === 0x75) {
    for (let position = start + 2; position < start + 6; position += 1) {
      if (!isHex(body[position])) throw noJson()
    }
    return start + 6
  }
  // " \ / b f n r t
  if (byte === undefined || !ESCAPES.includes(byte)) throw noJson()
  return start + 2
}

const ESCAPES = Buffer.from('"\\/bfnrt')

function isHex(byte: number | undefined): boolean {
  if (byte === undefined) return false
  const letter = byte | 0x20
  return (byte >= 0x30 && byte <= 0x39) || (letter >= 0x61 && letter <= 0x66)
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}

const FALSE_TEXT = Buffer.from('false')
const LITERALS = [Buffer.from('true'), FALSE_TEXT, Buffer.from('null')]

/** Returns the end of the number, `true`, `false` or `null` that begins at `start`. */
function scalarEnd(body: Buffer, start: number, first: number): number {
  if (first === 0x2d || isDigit(first)) return numberEnd(body, start)
  for (const literal of LITERALS) if (startsWith(body, start, literal)) return start + literal.length
  throw noJson()
}

function numberEnd(body: Buffer, start: number): number {
  let position = body[start] === 0x2d ? start + 1 : start
  // No digit follows a leading zero.
  if (body[position] === 0x30) position += 1
  else position = digitsEnd(body, position)
  if (body[position] === 0x2e) position = digitsEnd(body, position + 1)
  const exponent = body[position]
  if (exponent === 0x65 || exponent === 0x45) {
    const sign = body[position + 1]
    position = digitsEnd(body, sign === 0x2b || sign === 0x2d ? position + 2 : position + 1)
  }
  return position
}

function digitsEnd(body: Buffer, start: number): number {
  let position = start
  while (isDigit(body[position])) position += 1
  if (position === start) throw noJson()
  return position
}

/** Whether a byte is the beginning of an escape, or of a character beyond ASCII. */
function hasEscape(body: Buffer, start: number, end: number): boolean {
  for (let position = start; position < end; position += 1) {
    const byte = body[position] ?? 0
    if (byte === BACKSLASH || byte >= 0x80) return true
  }
  return false
}

function startsWith(body: Buffer, start: number, text: Buffer): boolean {
  for (let index = 0; index < text.length; index += 1) {
    if (body[start + index] !== text[index]) return false
  }
  return true
}

/** Letters of `text` are lower case. */
function startsWithIgnoringCase(body: Buffer, start: number, text: Buffer): boolean {
  for (let index = 0; index < text.length; index += 1) {
    const byte = body[start + index] ?? 0
    if ((byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) !== text[index]) return false
  }
  return true
}

/** Up to `max` UTF-16 units of the string that stands between `start` and `end`, and where each of them ends. */
function beginning(
  body: Buffer,
  start: number,
  end: number,
  max: number,
): { readonly text: string; readonly ends: readonly number[] } {
  const ends: number[] = []
  let text = ''
  let position = start
  while (position < end && text.length < max) {
    const byte = body[position] ?? 0
    const next = byte === BACKSLASH ? escapeEnd(body, position) : position + utf8Length(byte)
    const raw = body.toString('utf8', position, next)
    const piece = byte === BACKSLASH ? (JSON.parse(`"${raw}"`) as string) : raw
    text += piece
    for (let unit = 0; unit < piece.length; unit += 1) ends.push(next)
    position = next
  }
  return { text, ends }
}

function utf8Length(first: number): number {
  if (first < 0x80) return 1
  if (first < 0xe0) return 2
  return first < 0xf0 ? 3 : 4
}

function noJson(): MirrorError {
  return badAnswer('The Hub sent a response that is not JSON.')
}

function badShape(): MirrorError {
  return badAnswer('The Hub sent JSON of an unexpected shape.')
}

function badAnswer(message: string): MirrorError {
  return new MirrorError('origin_bad_answer', { message })
}
