// Defaults, file, environment and flags become one checked Config, or one list of everything wrong with them. The
// only reader of process.env, and of the files that settings name. It knows no setting by itself: see keys.ts.
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { homedir } from 'node:os'
import { isAbsolute, join } from 'node:path'
import { z } from 'zod'
import { readProxies } from '../http/proxies.ts'
import { ConfigFaults, type Fault, type Source } from './faults.ts'
import { type Config, canonicalName, fileKey, type Row, rows, type SettingName } from './keys.ts'
import { hubTokenFault, NONE, type Parser } from './parse.ts'
import { POLICIES, readPolicies } from './policies.ts'
import { RULES } from './rules.ts'
import { MASK, Secret, trimSecret } from './secret.ts'
import { codeOf, type Entry, entriesFrom, pick } from './sources.ts'
import { borrowedNotice, DEFAULT_TOKEN, namedTokens } from './tokens.ts'

/** Where a setting's value came from. `shown` is what may be printed of it: a mask for a secret. */
export interface Origin {
  readonly source: Source
  /** The flag, the variable, or file:line:column; empty for a default. */
  readonly where: string
  readonly shown: string
}

/** What loadConfig reads. Everything has a default but the flags, so that tests hand in plain objects. */
export interface ConfigSources {
  /** Values by flag name in camelCase (`cacheMaxSize`), as the command line parser hands them over. */
  readonly flags?: Readonly<Record<string, unknown>>
  readonly env?: Readonly<Record<string, string | undefined>>
  /** Throws as node:fs does when the file cannot be read. */
  readonly readFile?: (path: string) => string
}

/** Settings and secrets are read whole; anything longer is not the file that was meant. */
const FILE_MAX_BYTES = 1_000_000

/**
 * The frozen Config and where each value came from, by key. An empty value counts as not given at every source (which
 * is what `HUBMIRROR_X=${X:-}` in a compose file means); `none` takes back what a weaker source has set.
 *
 * @throws ConfigFaults with every fault at once.
 */
export function loadConfig(sources: ConfigSources = {}): {
  readonly config: Config
  readonly origins: ReadonlyMap<string, Origin>
  /** What is right, but should be known: for the log at start. */
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

  const parsed = SCHEMA.safeParse(texts)
  for (const issue of parsed.error?.issues ?? []) {
    const row = rows().find((candidate) => candidate.name === issue.path[0])
    const entry = row === undefined ? undefined : entries.get(row.name)
    if (row === undefined || entry === undefined) continue
    const value = shownText(row, texts[row.name] ?? entry.text)
    faults.push({ key: entry.key, source: entry.source, where: entry.where, value, cure: issue.message })
  }
  const named = readNamedTokens(layers.flat(), readFile, faults)
  const section = sections.get(canonicalName(POLICIES))
  const known = [...(texts.token === undefined ? [] : [DEFAULT_TOKEN]), ...named.map(({ name }) => name)]
  const policies = section === undefined ? [] : readPolicies(section, faults, known)
  const way = readProxies(env, originScheme(parsed.data?.['origin']))
  for (const { variable, cure } of way.faults)
    faults.push({ key: variable, source: 'environment', where: variable, cure })
  if (faults.length > 0 || parsed.data === undefined) throw new ConfigFaults(faults)

  const config: Record<string, unknown> = { ...parsed.data, policies, proxies: way.proxies }
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
  const origins = new Map<string, Origin>([
    ...rows().map((row) => [row.key, describe(row, entries.get(row.name), texts[row.name])] as const),
    ...named.map(({ name, origin }) => [`tokens.${name}`, origin] as const),
  ])
  if (section !== undefined) {
    const shown = policies.length === 1 ? '1 rule' : `${policies.length} rules`
    origins.set(POLICIES, { source: 'file', where: section.where, shown })
  }
  const notice = borrowedNotice(entries.get('token'), env)
  // The schema is made from the same table as the type; nothing else ties the two for the compiler.
  return {
    config: Object.freeze(config) as unknown as Config,
    origins,
    notices: [...(notice === undefined ? [] : [notice]), ...way.notices],
  }
}

/** The schema of all settings, from texts to values, with the rules between them. */
const SCHEMA = z
  .strictObject(
    Object.fromEntries(
      rows().map((row) => {
        const schema = fromText(row.parse)
        return [row.name, row.default === undefined ? schema.optional() : schema]
      }),
    ),
  )
  .superRefine(
    (value, context) => {
      const wrong = new Set(context.issues.map((issue) => issue.path?.[0]))
      for (const rule of RULES) {
        const cure = rule.reads.some((name) => wrong.has(name)) ? undefined : rule.check(value)
        if (cure !== undefined) context.addIssue({ code: 'custom', path: [rule.at], message: cure })
      }
    },
    // A rule runs although other settings are wrong, so that every fault is told at once.
    { when: () => true },
  )

function fromText<T>(parse: Parser<T>) {
  return z.string().transform((text, context) => {
    const parsed = parse(text)
    if ('value' in parsed) return parsed.value
    context.addIssue({ code: 'custom', message: parsed.fault })
    return z.NEVER
  })
}

function originScheme(origin: unknown): 'http' | 'https' {
  return origin instanceof URL && origin.protocol === 'http:' ? 'http' : 'https'
}

function defaultText(text: string, env: Readonly<Record<string, string | undefined>>): string {
  const xdg = env['XDG_CACHE_HOME'] ?? ''
  // A relative XDG_CACHE_HOME is to be ignored (XDG Base Directory Specification).
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
  // Whoever put the secret itself where its file's name belongs must not find it printed; Base64 has slashes, too.
  const value = /^(?:~|\.{0,2})\//.test(entry.text) || entry.text.length <= 20 ? entry.text : MASK
  faults.push({ key: entry.key, source: entry.source, where: entry.where, value, cure })
  return undefined
}

/** The text of a file or a pipe. Throws as node:fs does, and EFBIG for what has no end, such as a device. */
function readBounded(path: string): string {
  const bytes = Buffer.alloc(FILE_MAX_BYTES + 1)
  const file = openSync(path, 'r')
  let length = 0
  try {
    for (let read = -1; read !== 0 && length < bytes.length; length += read)
      read = readSync(file, bytes, length, bytes.length - length, null)
  } finally {
    closeSync(file)
  }
  if (length > FILE_MAX_BYTES) throw Object.assign(new Error('the file is too large'), { code: 'EFBIG' })
  return bytes.toString('utf8', 0, length)
}

interface NamedToken {
  readonly name: string
  readonly secret: Secret
  readonly origin: Origin
}

function readNamedTokens(
  entries: readonly Entry[],
  readFile: (path: string) => string,
  faults: Fault[],
): readonly NamedToken[] {
  return [...namedTokens(entries, faults)].flatMap(([name, { entry, isFile }]): NamedToken[] => {
    const { source, where, text } = entry
    const origin = { source, where, shown: isFile ? `${MASK} (from ${text})` : MASK }
    if (!isFile) return [{ name, secret: Secret.of(text), origin }]
    const initial = readSecret(entry, readFile, faults)
    if (initial === undefined) return []
    const fault = hubTokenFault(initial)
    if (fault === undefined)
      return [{ name, secret: followFile(text, { initial, readFile, faultOf: hubTokenFault }), origin }]
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
  const attempt = <T>(look: () => T): T | undefined => {
    try {
      return look()
    } catch {
      return undefined
    }
  }
  const stamp = (): string | undefined =>
    attempt(() => {
      const stats = statSync(path)
      const { ino, mtimeMs, ctimeMs, size } = stats
      // A pipe that took its place would be waited for by everybody.
      return !stats.isFile() || size > FILE_MAX_BYTES ? undefined : `${ino} ${mtimeMs} ${ctimeMs} ${size}`
    })
  return Secret.following({
    initial,
    // Unknown, so that a change between the reading at start and now is seen at the first look.
    initialStamp: undefined,
    file: {
      stamp,
      read: () => attempt(() => readFile(path)),
      writtenAt: () => attempt(() => statSync(path).mtimeMs),
    },
    faultOf,
    now: () => performance.now(),
  })
}

function describe(row: Row, entry: Entry | undefined, text: string | undefined): Origin {
  if (entry === undefined) return { source: 'default', where: '', shown: row.absent ?? '' }
  const { source, where } = entry
  if (text === undefined) return { source, where, shown: row.absent ?? '' }
  const shown = entry.key === row.key ? shownText(row, text) : `${MASK} (from ${entry.text})`
  return { source, where, shown }
}

function shownText(row: Row, text: string): string {
  if (row.secret === true) return MASK
  // Credentials stray into URLs and into the wrong setting; every place where one can be told is left out.
  return text
    .replace(/\/\/.*@/s, `//${MASK}@`)
    .replace(/\?.*$/s, `?${MASK}`)
    .replace(/hf_\w{8,}/g, MASK)
}
