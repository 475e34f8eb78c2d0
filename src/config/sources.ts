// Collects what flags, environment and settings file say, as entries that can be compared by name, and picks the entry
// that counts. It opens no file by itself and parses no value.
import type { Entry } from './entry.ts'
import type { Fault } from './faults.ts'
import { parseConfigFile } from './file.ts'
import { type Row, rows } from './keys.ts'
import { NONE } from './parse.ts'
import type { Placed } from './placed.ts'
import { POLICIES } from './policies.ts'
import { CONFIG_FILE } from './setting.ts'
import { canonicalName, envName, fileKey, flagName } from './setting-names.ts'
import { suggest } from './suggest.ts'
import { fallbackToken, isNamedToken } from './tokens.ts'

/** The sources as they are, before any check. */
interface RawSources {
  /** Values by flag name in camelCase (`cacheMaxSize`). A value that is not a string is not a setting. */
  readonly flags: Readonly<Record<string, unknown>>
  readonly env: Readonly<Record<string, string | undefined>>
  readonly readFile: (path: string) => string
}

/** The entries of all sources. */
interface RawSettings {
  /** The entries of each source, the strongest source first. */
  readonly layers: readonly (readonly Entry[])[]
  /** The sections of the settings file, by canonical name. No other source can have sections. */
  readonly sections: ReadonlyMap<string, Placed>
}

/** Collects the entries of all sources. Adds to `faults` everything that cannot become an entry. */
export function entriesFrom(raw: RawSources, faults: Fault[]): RawSettings {
  const strong = [flagEntries(raw.flags), envEntries(raw.env, faults)]
  const { entries, sections } = fileEntries(raw, faults)
  return { layers: [...strong, entries, fallbackToken(raw.env)], sections }
}

/**
 * Returns the entry of the strongest source for a setting, else its default. It is a fault if one source gives a setting
 * twice, or gives a secret both directly and as a file.
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
    // From here on, the key is spelled as in the table, whatever its spelling at the source.
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
  { flags, env, readFile }: RawSources,
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
  // If the name is unknown and no setting lies below it, the fault is the name, not the value.
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

/** The fault of an unknown name. Its value is never shown: a mistyped `HUBMIRROR_TOKN` contains a token, too. */
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

/** The code of a system error, such as ENOENT. */
export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string'
    ? error.code
    : 'unreadable'
}
