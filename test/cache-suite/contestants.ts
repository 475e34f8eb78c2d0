// What stands between the legs: the mirror on three of its ways, three configurations of nginx, and nothing at all.

import { startMirrorProcess } from '../clients/support/mirror-process.ts'
import { type NginxConfig, startNginx } from '../compare/nginx.ts'
import type { Place } from './legs.ts'

/** Who is run, and what the origin is taken for. */
export interface Contestant {
  readonly title: string
  readonly place: Place
  /** Starts the contestant with an empty cache, in front of an origin. The caller must stop it. */
  start(originUrl: string): Promise<{ readonly url: string; stop(): Promise<unknown> }>
}

const PUBLIC: Place = { prefix: '/api/models', private: false }
const PRIVATE: Place = { prefix: '/api/models', private: true }
/** A path of which the mirror knows nothing. */
const PASSED: Place = { prefix: '/api/pages', private: false }

// How long an answer about a public repo is fresh is a setting, and Cache-Control of the Hub has no say in it. So the suite
// would count each reuse within that time. With 0 s it sees everything else.
const mirror = (originUrl: string) =>
  startMirrorProcess({ HUBMIRROR_ORIGIN: originUrl, HUBMIRROR_REF_TTL: '0s' })
const nginx = (config: NginxConfig) => (originUrl: string) =>
  startNginx(config, { url: originUrl, cdnUrl: originUrl })
const nothing = (originUrl: string) => Promise.resolve({ url: originUrl, stop: () => Promise.resolve() })

/** The ways of the mirror, each with waivers of its own. */
export const WAYS = {
  public: { title: 'hubmirror, info of a public repo', place: PUBLIC, start: mirror },
  private: { title: 'hubmirror, info of a private repo', place: PRIVATE, start: mirror },
  passed: { title: 'hubmirror, what it only passes on', place: PASSED, start: mirror },
} as const satisfies Record<string, Contestant>

export const CONTESTANTS = {
  ...WAYS,
  http: { title: 'nginx, `http-cache.conf`', place: PUBLIC, start: nginx('http-cache') },
  careful: { title: 'nginx, `careful.conf`', place: PUBLIC, start: nginx('careful') },
  naive: { title: 'nginx, `naive-cache.conf`', place: PUBLIC, start: nginx('naive-cache') },
  nothing: { title: 'no cache', place: PUBLIC, start: nothing },
} as const satisfies Record<string, Contestant>

export type Way = keyof typeof WAYS
export type ContestantName = keyof typeof CONTESTANTS
