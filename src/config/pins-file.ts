// The file of pins: which repos the mirror keeps ready. Reads it strictly, and reports all faults at once, each with its
// position, its value and the cure. followed-pins.ts reads it again while the mirror runs.

import { parseRepoId, REPO_ID_RULE, REPO_TYPES, type Repo, repoKey } from '../hub/names.ts'
import { ConfigFaults, type Fault } from './faults.ts'
import { parseConfigFile } from './file.ts'
import { readRegularFile } from './files.ts'
import type { Config } from './keys.ts'
import type { Provenance } from './load.ts'
import { bytes, count, duration, type Parsed, type Parser } from './parse.ts'
import type { Placed } from './placed.ts'
import { SectionReader } from './section-reader.ts'
import { canonicalName } from './setting-names.ts'
import { codeOf } from './sources.ts'

/** What is kept ready of one repo. */
export interface Pin {
  readonly repo: Repo
  /** Names of branches, tags or commits, and globs of branches and tags. */
  readonly revisions: readonly string[]
  /** Patterns as those of `prefetch`. Without `include`, all files are meant. */
  readonly include: readonly string[]
  readonly exclude: readonly string[]
  /** How many commits that a branch had before are kept. */
  readonly keep: number
  /** How often the mirror asks where the revisions are. */
  readonly everyMs: number
  /** Of several pins that are due, the highest comes first. */
  readonly priority: number
  /** The position in the file. */
  readonly where: string
}

export interface PinsFile {
  /** The most bytes that are fetched for pins in a second. Undefined: as many as come. */
  readonly bandwidth: number | undefined
  /** By priority, the highest first, and then as in the file. */
  readonly pins: readonly Pin[]
}

const FILE_KEYS = ['bandwidth', 'pins'] as const
const PIN_KEYS = ['repo', 'revisions', 'include', 'exclude', 'keep', 'every', 'priority'] as const
const HOUR_MS = 3_600_000
/** More would be read for each report. */
const MAX_PINS = 10_000
const MAX_PATTERNS = 1000
const MAX_CHARS = 1024
/** The lowest bandwidth with which pieces of a file have a useful size. */
const MIN_BANDWIDTH = 10_000
const EXPECTED_LIST =
  'expected a list of pins: each begins with a dash and has a repo, as in "- repo: org/name"'

/** Reads the text of a file. `fileName` is part of each position. Never throws. */
export function parsePins(
  text: string,
  fileName: string,
): { readonly file: PinsFile } | { readonly faults: readonly Fault[] } {
  const parsed = parseConfigFile(text, fileName, new Set(FILE_KEYS.map(canonicalName)))
  const faults: Fault[] = parsed.faults.map((fault) =>
    fault.key === '(top level)' ? { ...fault, cure: 'expected the key pins, with a list below it' } : fault,
  )
  const reader = new SectionReader(faults)
  for (const { key, where } of parsed.entries)
    reader.fault(key, { where }, `no such key; expected ${FILE_KEYS.join(', ')}`)
  const section = (name: (typeof FILE_KEYS)[number]): Placed | undefined =>
    parsed.sections.get(canonicalName(name))
  const limit = section('bandwidth')
  const bandwidth =
    limit === undefined
      ? undefined
      : reader.one(
          { key: 'bandwidth', where: limit.where, value: limit },
          'bandwidth',
          bytes({ min: MIN_BANDWIDTH }),
        )
  const pins = readList(reader, section('pins'), fileName)
  if (faults.length > 0) return { faults }
  return { file: { bandwidth, pins: pins.toSorted((a, b) => b.priority - a.priority) } }
}

/** Reads a file. Never throws. */
export function readPins(
  path: string,
  readFile: (path: string) => string = readRegularFile,
): ReturnType<typeof parsePins> {
  let text: string
  try {
    text = readFile(path)
  } catch (error) {
    const cure = `expected a readable file of pins (${codeOf(error)})`
    return { faults: [{ key: 'pins', source: 'file', where: path, cure }] }
  }
  return parsePins(text, path)
}

/** Checks the file that a loaded config names. Throws ConfigFaults. */
export function checkPinsFile({
  config,
  provenance,
}: {
  readonly config: Config
  readonly provenance: ReadonlyMap<string, Provenance>
}): void {
  const read = config.pins === undefined ? undefined : readPins(config.pins)
  if (read === undefined || !('faults' in read)) return
  const { source = 'default', where = '' } = provenance.get('pins') ?? {}
  // A file that cannot be read at all is a fault of the setting.
  throw new ConfigFaults(
    read.faults.map((fault) =>
      fault.where === config.pins ? { ...fault, source, where, value: config.pins } : fault,
    ),
  )
}

function readList(reader: SectionReader, section: Placed | undefined, fileName: string): readonly Pin[] {
  // An empty list unpins everything, and must be written as one: a file that was cut off has none.
  if (section?.kind !== 'list') {
    reader.fault('pins', { where: section?.where ?? `${fileName}:1:1` }, `${EXPECTED_LIST}; [] is none`)
    return []
  }
  if (section.items.length > MAX_PINS) {
    reader.fault('pins', section, `expected at most ${MAX_PINS} pins`)
    return []
  }
  const pins = section.items.flatMap((item, index) => readPin(reader, item, index + 1) ?? [])
  const seen = new Map<string, Pin>()
  for (const pin of pins) {
    for (const revision of pin.revisions) {
      const id = pinId(pin, revision)
      const before = seen.get(id)
      if (before !== undefined)
        reader.fault(
          'pins.repo',
          { where: pin.where, text: repoKey(pin.repo) },
          `this revision of the repo is pinned at ${before.where} already, with the same patterns; remove one of them`,
        )
      seen.set(id, pin)
    }
  }
  return pins
}

/** What a pin keeps at one revision, as a text that is the same as long as that is the same. */
export function pinId(
  { repo, include, exclude }: Pick<Pin, 'repo' | 'include' | 'exclude'>,
  revision: string,
): string {
  return JSON.stringify([repoKey(repo), revision, include, exclude])
}

/** What is the same in `pinId` for all revisions of a pin. */
export function pinPart({ repo, include, exclude }: Pick<Pin, 'repo' | 'include' | 'exclude'>): string {
  return JSON.stringify([repoKey(repo), include, exclude])
}

/** The `pinPart` and the revision of a text that `pinId` has made. Undefined for any other text. */
export function parsePinId(id: string): { readonly pin: string; readonly revision: string } | undefined {
  try {
    const parsed: unknown = JSON.parse(id)
    if (!Array.isArray(parsed)) return undefined
    const [repo, revision, ...patterns] = parsed as unknown[]
    if (typeof revision !== 'string') return undefined
    return { pin: JSON.stringify([repo, ...patterns]), revision }
  } catch {
    return undefined
  }
}

/** Whether a revision of a pin is a glob. */
export function isGlob(revision: string): boolean {
  return /[*?[]/.test(revision)
}

function readPin(reader: SectionReader, node: Placed, number: number): Pin | undefined {
  const key = `pins.${number}`
  const entries = reader.map(node, key, PIN_KEYS)
  if (entries === undefined) return undefined
  if (!entries.has('repo')) return reader.fault(`${key}.repo`, node, 'expected a repo, such as org/name')
  const repo = reader.one(entries.get('repo'), `${key}.repo`, parseRepo)
  const texts = (name: 'revisions' | 'include' | 'exclude'): readonly string[] | undefined => {
    const found = reader.list(entries.get(name), `${key}.${name}`, plainText)
    if (found === undefined || found.length <= MAX_PATTERNS) return found
    return reader.fault(`${key}.${name}`, node, `expected at most ${MAX_PATTERNS} values`)
  }
  const single = <T>(name: 'keep' | 'every' | 'priority', parse: Parser<T>): T | undefined =>
    reader.one(entries.get(name), `${key}.${name}`, parse)
  const revisions = texts('revisions') ?? ['main']
  const [include = [], exclude = []] = [texts('include'), texts('exclude')]
  const keep = single('keep', count({ min: 0, max: 100 })) ?? 0
  const everyMs = single('every', duration({ minMs: 60_000, maxMs: 30 * 24 * HOUR_MS })) ?? HOUR_MS
  const priority = single('priority', count({ min: 0, max: 1000 })) ?? 0
  if (repo === undefined) return undefined
  return Object.freeze({ repo, revisions, include, exclude, keep, everyMs, priority, where: node.where })
}

/** `org/name`, `dataset/org/name` or `datasets/org/name`. */
function parseRepo(text: string): Parsed<Repo> {
  const [first = '', ...rest] = text.split('/')
  const type = rest.length === 0 ? undefined : REPO_TYPES.find((one) => first === one || first === `${one}s`)
  const id = parseRepoId(type === undefined ? text : rest.join('/'))
  if (id === undefined) return { fault: `expected org/name or dataset/org/name. ${REPO_ID_RULE}` }
  return { value: { type: type ?? 'model', id } }
}

function plainText(text: string): Parsed<string> {
  if (text.length > MAX_CHARS) return { fault: `expected at most ${MAX_CHARS} characters` }
  return /\p{Cc}/u.test(text) ? { fault: 'expected text without control characters' } : { value: text }
}
