// The table of all settings. The type Config, the help text, the names of flags and variables, and the tables in the
// documentation are derived from it. It does not know where a value comes from.

import type { Proxies } from '../http/proxies.ts'
import type { Rule as PolicyRule } from '../policy/rules.ts'
import { CACHE_SETTINGS } from './cache-keys.ts'
import {
  basePath,
  choice,
  count,
  duration,
  filePath,
  host,
  hostPattern,
  hubToken,
  LONGEST_TTL_MS,
  lineTarget,
  list,
  network,
  onOff,
  orOff,
  orWord,
  type Parser,
  port,
  rate,
  secret,
  url,
} from './parse.ts'
import type { Secret } from './secret.ts'
import type { Setting } from './setting.ts'
import { TLS_SETTINGS } from './tls-settings.ts'

const HOUR_MS = 3_600_000

/** Every setting by its name in Config. The help and the documentation use the same order. */
const SETTINGS = {
  host: {
    key: 'host',
    group: 'Listening',
    form: 'address',
    meaning: 'address to listen on; `0.0.0.0` or `::` means all addresses',
    parse: host(),
    default: '127.0.0.1',
  },
  port: {
    key: 'port',
    group: 'Listening',
    form: 'port',
    meaning: 'port to listen on; `0` lets the operating system choose',
    parse: port(),
    default: '8080',
  },
  ...TLS_SETTINGS,
  basePath: {
    key: 'basePath',
    group: 'Listening',
    form: 'prefix',
    meaning:
      'path prefix under which the mirror is served, as in `HF_ENDPOINT=https://host/hugging-face`; `/` is none',
    parse: basePath(),
    default: '/',
  },
  publicUrl: {
    key: 'publicUrl',
    group: 'Listening',
    form: 'url',
    meaning:
      'URL under which clients reach the mirror, including the path prefix; set it when a TLS proxy stands in front',
    parse: url(),
    absent: 'from the request',
  },
  trustProxy: {
    key: 'trustProxy',
    group: 'Listening',
    form: 'networks',
    meaning:
      'addresses or networks of proxies, separated by commas, whose `X-Forwarded-*` headers the mirror trusts',
    parse: list(network()),
    default: 'none',
  },
  sendfile: {
    key: 'sendfile',
    group: 'Listening',
    form: 'off|x-accel-redirect',
    meaning:
      'who sends stored files of 256 KiB and more: `off`: the mirror. `x-accel-redirect`: the nginx in front of it, where that connects from an address in `HUBMIRROR_TRUST_PROXY`',
    parse: choice(['off', 'x-accel-redirect']),
    default: 'off',
  },
  clientsAllow: {
    key: 'clients.allow',
    group: 'Listening',
    form: 'networks',
    meaning: 'addresses or networks of clients to serve, separated by commas; `none` serves all clients',
    parse: list(network()),
    default: 'none',
    live: true,
  },
  clientsDeny: {
    key: 'clients.deny',
    group: 'Listening',
    form: 'networks',
    meaning:
      'addresses or networks of clients to refuse, separated by commas; it takes precedence over `clients.allow`',
    parse: list(network()),
    default: 'none',
    live: true,
  },
  origin: {
    key: 'origin',
    group: 'Origin',
    form: 'url',
    meaning: 'the Hub behind the mirror, or another mirror',
    parse: url(),
    default: 'https://huggingface.co',
  },
  datasetsServer: {
    key: 'datasetsServer',
    group: 'Origin',
    form: 'url|origin|off',
    meaning:
      "the datasets-server, which `datasets` asks for lists of Parquet files: `origin`: at the host of the origin, with `datasets-server.` before it. `off`: none. Callers' tokens are sent there",
    parse: orOff(orWord('origin', url())),
    default: 'origin',
  },
  token: {
    key: 'token',
    group: 'Origin',
    form: 'token',
    meaning:
      "a Hub token of the mirror's own, named `default`; used only where a policy says so. If no source sets it, the mirror uses `HF_TOKEN` or `HF_API_TOKEN`",
    parse: hubToken(),
    absent: 'none',
    secret: true,
    live: true,
  },
  redirectHosts: {
    key: 'redirectHosts',
    group: 'Origin',
    form: 'hosts',
    meaning:
      "hosts, besides the origin's own, to which the mirror follows redirects: names, addresses or `*.suffix`, on any port",
    parse: list(hostPattern()),
    default: '*.hf.co,*.huggingface.co',
  },
  originTimeoutMs: {
    key: 'originTimeout',
    group: 'Origin',
    form: 'time',
    meaning:
      'time limit until the response headers of the origin are complete, and for each pause within a response body',
    parse: duration({ minMs: 100, maxMs: HOUR_MS }),
    default: '20s',
  },
  originConnections: {
    key: 'originConnections',
    group: 'Origin',
    form: 'number',
    meaning:
      'maximum number of simultaneous connections to one origin host; a quarter is reserved for short requests, and bodies that move at the speed of a client get at most half',
    parse: count({ min: 1, max: 4096 }),
    default: '64',
  },
  pullConnections: {
    key: 'pullConnections',
    group: 'Origin',
    form: 'number',
    meaning: 'parallel connections that fetch one large file',
    parse: count({ min: 1, max: 64 }),
    default: '6',
  },
  pullAbandoned: {
    key: 'pullAbandoned',
    group: 'Origin',
    form: 'auto|finish|stop',
    meaning:
      'whether a download continues after its last reader has left; `auto`: only if half of the file has arrived or at most 256 MB remain',
    parse: choice(['auto', 'finish', 'stop']),
    default: 'auto',
  },
  readAhead: {
    key: 'readAhead',
    group: 'Origin',
    form: 'auto|off',
    meaning: 'fetch small files of a public commit before a client that takes a snapshot requests them',
    parse: choice(['auto', 'off']),
    default: 'auto',
  },
  ...CACHE_SETTINGS,
  refTtlMs: {
    key: 'refTtl',
    group: 'Access and protocol',
    form: 'time',
    meaning:
      'how long the mirror trusts a branch such as `main`, and a stored answer of the API, before it asks the Hub again',
    parse: duration({ maxMs: LONGEST_TTL_MS }),
    default: '10s',
    live: true,
  },
  accessTtlMs: {
    key: 'accessTtl',
    group: 'Access and protocol',
    form: 'time',
    meaning:
      'how long the mirror trusts a confirmed access right; a refusal counts for a tenth of that, at most 5s. `0s` asks the Hub every time',
    parse: duration({ maxMs: LONGEST_TTL_MS }),
    default: '60s',
    live: true,
  },
  staleGraceMs: {
    key: 'staleGrace',
    group: 'Access and protocol',
    form: 'time',
    meaning:
      'how long a confirmed right to a private or gated repo still counts if the Hub cannot be asked; only with `HUBMIRROR_CACHE_PRIVATE=on`. `0s` is never',
    parse: duration({ maxMs: LONGEST_TTL_MS }),
    default: '1h',
    live: true,
  },
  mirrorTokens: {
    key: 'mirrorTokens',
    group: 'Access and protocol',
    form: 'file',
    meaning: 'file that lists the tokens issued by `hubmirror token`; it holds only their hashes',
    parse: filePath(),
    absent: 'mirror-tokens.json in the store',
  },
  clientsRateLimit: {
    key: 'clients.rateLimit',
    group: 'Access and protocol',
    form: 'number/time',
    meaning:
      'how many requests that need the origin one caller (address or mirror token) may send per period, such as `600/1m`; above it, the caller gets stored content or a 429',
    parse: rate(),
    absent: 'off',
    live: true,
  },
  offline: {
    key: 'offline',
    group: 'Access and protocol',
    form: 'on|off',
    meaning: 'never contact the origin; serve only what is stored',
    parse: onOff(),
    default: 'off',
  },
  xet: {
    key: 'xet',
    group: 'Access and protocol',
    form: 'strip|proxy',
    meaning:
      '`strip`: clients use plain HTTP. `proxy` is reserved for Xet through the mirror, and this version refuses it',
    parse: choice(['strip', 'proxy'], new Map([['proxy', 'proxy is not available yet; use strip']])),
    default: 'strip',
  },
  writes: {
    key: 'writes',
    group: 'Access and protocol',
    form: 'forward|deny',
    meaning:
      "`forward`: uploads and commits go to the Hub with the caller's own token. `deny`: they are refused with a 403",
    parse: choice(['forward', 'deny']),
    default: 'forward',
    live: true,
  },
  workers: {
    key: 'workers',
    group: 'Operation',
    form: 'number',
    meaning:
      'number of processes that answer clients. More than one run beside the main process, which alone decides, fetches and stores',
    parse: count({ min: 1, max: 64 }),
    default: '1',
  },
  adminToken: {
    key: 'adminToken',
    group: 'Operation',
    form: 'token',
    meaning:
      'token for admin routes, which answer 403 without it except to loopback; this version has no such routes',
    parse: secret(),
    absent: 'none',
    secret: true,
  },
  drainDelayMs: {
    key: 'drainDelay',
    group: 'Operation',
    form: 'time',
    meaning:
      'how long the mirror still serves requests after SIGTERM while `/readyz` answers 503, so that load balancers stop sending requests before connections are refused; SIGINT skips this delay',
    parse: duration({ maxMs: HOUR_MS }),
    default: '8s',
    live: true,
  },
  drainTimeoutMs: {
    key: 'drainTimeout',
    group: 'Operation',
    form: 'time',
    meaning: 'how long running downloads may continue once new connections are refused',
    parse: duration({ maxMs: HOUR_MS }),
    default: '30s',
    live: true,
  },
  logLevel: {
    key: 'logLevel',
    group: 'Operation',
    form: 'level',
    meaning: "minimum level of log messages: pino's levels, `trace` to `fatal`, or `silent`",
    parse: choice(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']),
    default: 'info',
    live: true,
  },
  auditLog: {
    key: 'auditLog',
    group: 'Operation',
    form: 'file|stdout|stderr',
    meaning:
      'where to write the audit log: one line of JSON for each decision about who may read what, and for each administrative act. SIGUSR2 reopens the file',
    parse: lineTarget(),
    absent: 'off',
  },
} as const satisfies Record<string, Setting>

type Table = typeof SETTINGS
/** A name in Config, such as `cacheMaxSizeBytes`. */
export type SettingName = keyof Table
type ValueOf<S> = S extends { readonly parse: Parser<infer T> } ? T : never
type WithDefault = {
  [N in SettingName]: Table[N] extends { readonly default: string } ? N : never
}[SettingName]
type Flat<T> = { readonly [N in keyof T]: T[N] }

/** All settings, checked and frozen. Rooms receive the parts that they need, and never import it as a value. */
export type Config = Flat<
  { [N in WithDefault]: ValueOf<Table[N]> } & {
    [N in Exclude<SettingName, WithDefault>]?: ValueOf<Table[N]>
  } & {
    /** The mirror's own Hub tokens by name: see tokens.ts. */
    hubTokens: ReadonlyMap<string, Secret>
    /** The rules in the section `policies` of the settings file: see policies.ts. */
    policies: readonly PolicyRule[]
    /** The proxies through which the origin is reached, from the conventional environment variables. */
    proxies: Proxies
  }
>

/** A part of the config that can change while the mirror runs: a setting, or a section of the settings file. */
export type LiveName =
  | { [N in SettingName]: Table[N] extends { readonly live: true } ? N : never }[SettingName]
  | 'policies'
  | 'hubTokens'

/** Whether a part of the config can change while the mirror runs. */
export function isLive(name: string): name is LiveName {
  if (name === 'policies' || name === 'hubTokens') return true
  const table: Readonly<Record<string, Setting>> = SETTINGS
  return table[name]?.live === true
}

/** A row of the table with its name, in a type that is the same for all rows. */
export type Row = Setting & { readonly name: SettingName }

/** The rows in order. */
export function rows(): readonly Row[] {
  // Object.entries loses the key type. The table is a literal, so it has no other keys.
  return Object.entries<Setting>(SETTINGS).map(([name, row]) => ({ ...row, name: name as SettingName }))
}
