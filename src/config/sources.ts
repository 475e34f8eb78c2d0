// What flags, environment and file each say, as entries that can be compared by name, and which of them counts. It
// reads nothing by itself and parses no value.
import type { Fault, Source } from './faults.ts'
import { parseConfigFile } from './file.ts'
import { CONFIG_FILE, canonicalName, envName, fileKey, flagName, type Row, rows } from './keys.ts'
import { NONE } from './parse.ts'
import type { Placed } from './placed.ts'
import { POLICIES } from './policies.ts'
import { suggest } from './suggest.ts'
import { borrowedToken, isNamedToken } from './tokens.ts'

/** One value at one source. */
export interface Entry {
  readonly key: string
  readonly source: Source
  /** A flag, a variable, or file:line:column; empty for a default. */
  readonly where: string
  readonly text: string
}

/** What is known from outside, before any of it is believed. */
export interface Given {
  /** Values by flag name in camelCase (`cacheMaxSize`); what is not a text is no setting. */
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readFile: (path: string) => string
}

/** What all sources say. */
export interface Said {
  /** The entries of each source, strongest source first. */
  readonly layers: readonly (readonly Entry[])[]
  /** The sections of the file, by canonical name: nothing else can hold them. */
  readonly sections: ReadonlyMap<string, Placed>
}

/** Everything that is given. Adds to `faults` what cannot be an entry. */
export function entriesFrom(given: Given, faults: Fault[]): Said {
  const strong = [flagEntries(given.flags), envEntries(given.env, faults)]
  const { entries, sections } = fileEntries(given, faults)
  return { layers: [...strong, entries, borrowedToken(given.env)], sections }
}

/**
 * The strongest source's entry for a setting; its default when no source has one. The same setting twice at one source
 * is a fault, and so is a secret given there both by itself and by its file.
 */
export function pick(row: Row, layers: readonly (readonly Entry[])[], faults: Fault[]): Entry | undefined {
  const names = [row.key, ...(row.secret === true ? [fileKey(row.key)] : [])].map(canonicalName)
  let chosen: Entry | undefined
  for (const layer of layers) {
    const [first, second] = layer.filter((entry) => names.includes(canonicalName(entry.key)))
    if (second !== undefined) {
      const cure = `expected this setting once; it is also given as ${first?.where ?? ''}`
      faults.push({ key: second.key, source: second.source, where: second.where, cure })
    }
    chosen ??= first
  }
  if (chosen !== undefined) {
    // From here on the key is spelled as in the table, whatever the file's author made of it.
    const viaFile = row.secret === true && canonicalName(chosen.key) === names[1]
    return { ...chosen, key: viaFile ? fileKey(row.key) : row.key }
  }
  if (row.default === undefined) return undefined
  return { key: row.key, source: 'default', where: '', text: row.default }
}

function flagEntries(flags: Readonly<Record<string, unknown>>): readonly Entry[] {
  return Object.entries(flags).flatMap(([name, value]) =>
    typeof value === 'string' && value.trim() !== ''
      ? [{ key: name, source: 'flag' as const, where: flagName(name), text: value.trim() }]
      : [],
  )
}

function envEntries(env: Readonly<Record<string, string | undefined>>, faults: Fault[]): readonly Entry[] {
  const known = new Map(knownKeys().map((key) => [envName(key), key]))
  const entries: Entry[] = []
  for (const [where, value] of Object.entries(env)) {
    const text = value?.trim() ?? ''
    if (!where.startsWith('HUBMIRROR_') || where === envName(CONFIG_FILE.key)) continue
    const key = known.get(where)
    if (isServiceLink(where, text))
      faults.push({ key: key ?? where, source: 'environment', where, cure: LINKS })
    else if (key === undefined)
      faults.push(unknownName({ key: where, source: 'environment', where }, envName))
    else if (text !== '') entries.push({ key, source: 'environment', where, text })
  }
  return entries
}

function fileEntries(
  { flags, env, readFile }: Given,
  faults: Fault[],
): { readonly entries: readonly Entry[]; readonly sections: ReadonlyMap<string, Placed> } {
  const none = { entries: [], sections: new Map() }
  const flag = flags[CONFIG_FILE.key]
  const byFlag = typeof flag === 'string' && flag !== ''
  const path = byFlag ? flag : (env[envName(CONFIG_FILE.key)] ?? '')
  if (path === '' || path === NONE) return none
  let text: string
  try {
    text = readFile(path)
  } catch (error) {
    const source = byFlag ? 'flag' : 'environment'
    const where = byFlag ? flagName(CONFIG_FILE.key) : envName(CONFIG_FILE.key)
    const cure = `expected a readable YAML file (${codeOf(error)})`
    faults.push({ key: CONFIG_FILE.key, source, where, value: path, cure })
    return none
  }
  const file = parseConfigFile(text, path, SECTIONS)
  const known = new Set(knownKeys().map(canonicalName))
  const groups = [...known, ...SECTIONS, 'TOKENS']
  // What is wrong with the value of a name that nobody knows, and under which nothing stands, is that it is there.
  const isUnknown = (key: string): boolean =>
    /^[\w-]+$/.test(key) && !groups.some((name) => `${name}_`.startsWith(`${canonicalName(key)}_`))
  const spell = (key: string): string => key
  faults.push(...file.faults.map((fault) => (isUnknown(fault.key) ? unknownName(fault, spell) : fault)))
  const entries = file.entries.flatMap((entry): Entry[] => {
    if (known.has(entry.name) || isNamedToken(entry.key)) return [{ ...entry, source: 'file' as const }]
    faults.push(
      entry.name === canonicalName(CONFIG_FILE.key)
        ? {
            key: entry.key,
            source: 'file',
            where: entry.where,
            cure: 'a settings file cannot name another; remove this',
          }
        : unknownName({ key: entry.key, source: 'file', where: entry.where }, spell),
    )
    return []
  })
  return { entries, sections: file.sections }
}

const SECTIONS: ReadonlySet<string> = new Set([canonicalName(POLICIES)])

function knownKeys(): readonly string[] {
  return rows().flatMap((row) => (row.secret === true ? [row.key, fileKey(row.key)] : [row.key]))
}

/** The value of an unknown name is never shown: `HUBMIRROR_TOKN` holds a token all the same. */
function unknownName(fault: Omit<Fault, 'cure'>, spell: (key: string) => string): Fault {
  const bare = (name: string): string => canonicalName(name).replace(/^HUBMIRROR_/, '')
  const names = new Map([...knownKeys(), POLICIES].map((key) => [bare(key), key]))
  const near = names.get(suggest(bare(fault.key), [...names.keys()]) ?? '')
  const hint = near === undefined ? "see 'hubmirror help' for all settings" : `did you mean ${spell(near)}?`
  return { ...fault, cure: `no such setting; ${hint}` }
}

const LINKS =
  'Kubernetes set this for a Service whose name begins with hubmirror; set enableServiceLinks: false in the pod'

// HUBMIRROR_SERVICE_HOST, HUBMIRROR_PORT_8080_TCP_ADDR and HUBMIRROR_PORT=tcp://… match; HUBMIRROR_PORT=8080 does not.
function isServiceLink(name: string, value: string): boolean {
  return (
    /_SERVICE_(?:HOST|PORT)(?:_|$)|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_|$)/.test(name) ||
    (name.endsWith('_PORT') && /^(?:tcp|udp|sctp):\/\//.test(value))
  )
}

/** What the system calls a failure: ENOENT. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : 'unreadable'
}
