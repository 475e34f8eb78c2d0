// Turns defaults, settings file, environment and flags into one checked Config, or into one list of all their faults. Only
// this file reads process.env. It reads the files of secrets; tls-files.ts reads those of TLS. The settings themselves are in
// keys.ts.
import { statSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { readProxies } from '../http/proxies.ts'
import { CROSS_CHECKS } from './cross-checks.ts'
import type { Entry } from './entry.ts'
import { ConfigFaults, type Fault, type Source } from './faults.ts'
import { readBounded, stampOf } from './files.ts'
import { type Config, type Row, rows, type SettingName } from './keys.ts'
import { hubTokenFault, NONE } from './parse.ts'
import { POLICIES, readPolicies } from './policies.ts'
import { MASK, Secret, trimSecret } from './secret.ts'
import { canonicalName, fileKey } from './setting-names.ts'
import { codeOf, entriesFrom, pick } from './sources.ts'
import { DEFAULT_TOKEN, fallbackNotice, namedTokens } from './tokens.ts'

/** Where the value of a setting came from. `shown` is the value as it may be printed: a mask for a secret. */
export interface Provenance {
  readonly source: Source
  /** The flag, the variable, or file:line:column; empty for a default. */
  readonly where: string
  readonly shown: string
}

/** The sources of loadConfig. All of them can be replaced, so tests hand in plain objects. */
export interface ConfigSources {
  /** Values by flag name in camelCase (`cacheMaxSize`), as the command line parser returns them. */
  readonly flags?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Throws as node:fs does when the file cannot be read. */
  readonly readFile?: (path: string) => string
}

/**
 * Returns the frozen Config, and by key where each value came from. At every source an empty value counts as not given,
 * which is what `HUBMIRROR_X=${X:-}` in a compose file means. The value `none` undoes what a weaker source has set.
 *
 * @throws ConfigFaults with every fault at once.
 */
export function loadConfig(sources: ConfigSources = {}): {
  readonly config: Config
  readonly provenance: ReadonlyMap<string, Provenance>
  /** Remarks about valid settings, for the log at start. */
  readonly notices: readonly string[]
} {
  const env = sources.env ?? process.env
  const readFile = sources.readFile ?? readBounded
  const faults: Fault[] = []
  const { layers, sections } = entriesFrom({ flags: sources.flags ?? {}, env, readFile }, faults)

  const texts: Partial<Record<SettingName, string>> = {}
  const secretPaths = new Map<SettingName, string>()
  const entries = new Map<SettingName, Entry>()
  for (const row of rows()) {
    const entry = pick(row, layers, faults)
    if (entry === undefined) continue
    entries.set(row.name, entry)
    if (entry.source === 'default') {
      texts[row.name] = defaultText(entry.text, env)
    } else if (row.secret === true && entry.key === fileKey(row.key)) {
      const text = readSecret(entry, readFile, faults)
      if (text === undefined) continue
      texts[row.name] = text
      secretPaths.set(row.name, entry.text)
    } else if (!isAbsence(row, entry.text)) {
      texts[row.name] = entry.text
    }
  }

  const { values, wrong } = parseTexts(texts)
  for (const { name, cure } of wrong) {
    const row = rows().find((candidate) => candidate.name === name)
    const entry = entries.get(name)
    if (row === undefined || entry === undefined) continue
    const value = shownText(row, texts[name] ?? entry.text)
    faults.push({ key: entry.key, source: entry.source, where: entry.where, value, cure })
  }
  const named = readNamedTokens(layers.flat(), readFile, faults)
  const section = sections.get(canonicalName(POLICIES))
  const known = [...(texts.token === undefined ? [] : [DEFAULT_TOKEN]), ...named.map(({ name }) => name)]
  const policies =
    section === undefined
      ? []
      : readPolicies(section, faults, { tokenNames: known, cachePrivate: values.cachePrivate })
  const way = readProxies(env, originScheme(values.origin))
  for (const { variable, cure } of way.faults)
    faults.push({ key: variable, source: 'environment', where: variable, cure })
  if (faults.length > 0) throw new ConfigFaults(faults)

  const config: Record<string, unknown> = { ...values, policies, proxies: way.proxies }
  for (const row of rows()) {
    const path = secretPaths.get(row.name)
    if (path === undefined) continue
    const faultOf = (text: string): string | undefined => {
      const parsed = row.parse(text)
      return 'fault' in parsed ? parsed.fault : undefined
    }
    config[row.name] = followFile(path, { initial: texts[row.name] ?? '', readFile, faultOf })
  }
  const { token } = config
  config['hubTokens'] = new Map([
    ...(token instanceof Secret ? [[DEFAULT_TOKEN, token] as const] : []),
    ...named.map(({ name, secret }) => [name, secret] as const),
  ])
  const provenance = new Map<string, Provenance>([
    ...rows().map((row) => [row.key, describe(row, entries.get(row.name), texts[row.name])] as const),
    ...named.map(({ name, provenance }) => [`tokens.${name}`, provenance] as const),
  ])
  if (section !== undefined) {
    const shown = policies.length === 1 ? '1 rule' : `${policies.length} rules`
    provenance.set(POLICIES, { source: 'file', where: section.where, shown })
  }
  const notice = fallbackNotice(entries.get('token'), env)
  // The schema and the type are made from the same table, which the compiler cannot see.
  return {
    config: Object.freeze(config) as unknown as Config,
    provenance,
    notices: [...(notice === undefined ? [] : [notice]), ...way.notices],
  }
}

interface WrongSetting {
  readonly name: SettingName
  /** What would be right. */
  readonly cure: string
}

/**
 * Turns texts into values, and runs the checks across settings. A check runs although other settings are wrong, so that all
 * faults are reported at once.
 */
function parseTexts(texts: Readonly<Partial<Record<SettingName, string>>>): {
  readonly values: Partial<Config>
  readonly wrong: readonly WrongSetting[]
} {
  const values: Partial<Record<SettingName, unknown>> = {}
  const wrong: WrongSetting[] = []
  for (const { name, parse } of rows()) {
    const text = texts[name]
    if (text === undefined) continue
    const parsed = parse(text)
    if ('value' in parsed) values[name] = parsed.value
    else wrong.push({ name, cure: parsed.fault })
  }
  // The values and the type are made from the same table, which the compiler cannot see.
  const config = values as Partial<Config>
  // A setting without a default, and without a text, is read as absent.
  const unread = new Set(
    rows().flatMap((row) => {
      const isAbsent = row.default === undefined && texts[row.name] === undefined
      return isAbsent || row.name in values ? [] : [row.name]
    }),
  )
  for (const { at, reads, check } of CROSS_CHECKS) {
    const cure = reads.some((name) => unread.has(name)) ? undefined : check(config)
    if (cure !== undefined) wrong.push({ name: at, cure })
  }
  return { values: config, wrong }
}

function originScheme(origin: unknown): 'http' | 'https' {
  return origin instanceof URL && origin.protocol === 'http:' ? 'http' : 'https'
}

function defaultText(text: string, env: Readonly<Record<string, string | undefined>>): string {
  const xdg = env['XDG_CACHE_HOME'] ?? ''
  // A relative XDG_CACHE_HOME must be ignored (XDG Base Directory Specification).
  const cacheHome = isAbsolute(xdg) ? xdg : join(env['HOME'] || homedir(), '.cache')
  return text.replace('$XDG_CACHE_HOME', () => cacheHome)
}

function isAbsence(row: Row, text: string): boolean {
  return row.default === undefined && text.toLowerCase() === NONE
}

function readSecret(entry: Entry, readFile: (path: string) => string, faults: Fault[]): string | undefined {
  let cure: string
  try {
    const text = trimSecret(readFile(entry.text))
    if (text !== '') return text
    cure = 'expected a file that contains the secret; this one is empty'
  } catch (error) {
    cure = `expected a readable file that contains the secret (${codeOf(error)})`
  }
  // The value may be the secret itself instead of the name of its file. Then it must not be printed. Base64 has slashes, too.
  const value = /^(?:~|\.{0,2})\//.test(entry.text) || entry.text.length <= 20 ? entry.text : MASK
  faults.push({ key: entry.key, source: entry.source, where: entry.where, value, cure })
  return undefined
}

interface NamedToken {
  readonly name: string
  readonly secret: Secret
  readonly provenance: Provenance
}

function readNamedTokens(
  entries: readonly Entry[],
  readFile: (path: string) => string,
  faults: Fault[],
): readonly NamedToken[] {
  return [...namedTokens(entries, faults)].flatMap(([name, { entry, isFile }]): NamedToken[] => {
    const { source, where, text } = entry
    const provenance = { source, where, shown: isFile ? `${MASK} (from ${text})` : MASK }
    if (!isFile) return [{ name, secret: Secret.of(text), provenance }]
    const initial = readSecret(entry, readFile, faults)
    if (initial === undefined) return []
    const fault = hubTokenFault(initial)
    if (fault === undefined)
      return [{ name, secret: followFile(text, { initial, readFile, faultOf: hubTokenFault }), provenance }]
    faults.push({
      key: entry.key,
      source,
      where,
      value: text,
      cure: `expected a file that contains a Hub token; ${fault}`,
    })
    return []
  })
}

function followFile(
  path: string,
  options: {
    readonly initial: string
    readonly readFile: (path: string) => string
    readonly faultOf: (text: string) => string | undefined
  },
): Secret {
  const { initial, readFile, faultOf } = options
  const attempt = <T>(action: () => T): T | undefined => {
    try {
      return action()
    } catch {
      return undefined
    }
  }
  return Secret.following({
    initial,
    // Unknown, so that the first check sees a change between the reading at start and now.
    initialStamp: undefined,
    file: {
      stamp: () => stampOf(path),
      read: () => attempt(() => readFile(path)),
      writtenAt: () => attempt(() => statSync(path).mtimeMs),
    },
    faultOf,
    now: () => performance.now(),
  })
}

function describe(row: Row, entry: Entry | undefined, text: string | undefined): Provenance {
  if (entry === undefined) return { source: 'default', where: '', shown: row.absent ?? '' }
  const { source, where } = entry
  if (text === undefined) return { source, where, shown: row.absent ?? '' }
  const shown = entry.key === row.key ? shownText(row, text) : `${MASK} (from ${entry.text})`
  return { source, where, shown }
}

function shownText(row: Row, text: string): string {
  if (row.secret === true) return MASK
  // Credentials stray into URLs and into the wrong setting. Every part that may be one is masked.
  return text
    .replace(/-----BEGIN.*$/s, MASK)
    .replace(/\/\/.*@/s, `//${MASK}@`)
    .replace(/\?.*$/s, `?${MASK}`)
    .replace(/hf_\w{8,}/g, MASK)
}
