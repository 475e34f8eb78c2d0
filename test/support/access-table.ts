// The table of who may read what: kinds of repo x callers x states of the mirror x requests. For each cell it says by
// rule what the client must see and which questions the origin may get; the Hub's own answer to the same caller, asked
// directly, is the oracle. Knows no test framework, and nothing of what the mirror does today.

import { createCipheriv, createHash } from 'node:crypto'
import { createMirrorToken } from '../../src/callers/mirror-token.ts'
import { type IssuedToken, tokenHash } from '../../src/callers/token-list.ts'
import type { Repo } from '../hub-simulator/repos.ts'
import { lfs, World } from '../hub-simulator/repos.ts'
import type { Reply } from './ask.ts'

const token = (word: string): string => `hf_${word.repeat(34).slice(0, 34)}`

/**
 * The tokens of all callers. `member` may read restricted repos, `other` may not; `first` warms the mirror, and a rule lends
 * `company` to the holder of a mirror token.
 */
export const SECRETS = {
  member: token('member7'),
  other: token('other8'),
  invalid: token('nobody9'),
  first: token('first6'),
  company: token('corp5'),
  mirror: createMirrorToken(),
  guest: createMirrorToken(),
  expired: createMirrorToken(),
} as const

export const CALLERS = {
  /** Who come with a Hub token or none. */
  plain: ['stranger', 'invalid', 'other', 'member'],
  /** Who come with a mirror token: one that is lent a token that may read, one that is lent nothing, one that is over. */
  issued: ['mirror token', 'mirror token without a right', 'expired mirror token'],
} as const
export type Group = keyof typeof CALLERS
export type Caller = (typeof CALLERS)[Group][number]

/** What a caller shows the mirror, and with which credential the Hub is asked for them. */
const CREDENTIALS: Readonly<Record<Caller, { readonly shown?: string; readonly asked?: string }>> = {
  stranger: {},
  invalid: { shown: SECRETS.invalid, asked: SECRETS.invalid },
  other: { shown: SECRETS.other, asked: SECRETS.other },
  member: { shown: SECRETS.member, asked: SECRETS.member },
  'mirror token': { shown: SECRETS.mirror, asked: SECRETS.company },
  'mirror token without a right': { shown: SECRETS.guest },
  'expired mirror token': { shown: SECRETS.expired },
}

/** The tokens that the mirror has issued. */
export function issuedTokens(): IssuedToken[] {
  const entry = (name: string, secret: string, more: Partial<IssuedToken> = {}): IssuedToken => ({
    name,
    sha256: tokenHash(secret),
    createdAt: 0,
    ...more,
  })
  return [
    entry('ci', SECRETS.mirror),
    entry('guest', SECRETS.guest),
    // Ended a moment ago: one that ended long ago leaves the list.
    entry('old', SECRETS.expired, { expiresAt: Date.now() - 1_000 }),
  ]
}

/** `in grace`: what a caller has been shown of a restricted repo is still the caller's while the origin is down. */
export const STATES = ['cold', 'warm', 'during a pull', 'origin down', 'origin down, in grace'] as const
export type State = (typeof STATES)[number]
export const isDown = (state: State): boolean => state.startsWith('origin down')

/** Small files come from the Hub itself, large ones from the CDN. */
export const REQUESTS = [
  'HEAD small',
  'GET small',
  'Range small',
  'HEAD large',
  'GET large',
  'Range large',
  'tree',
  'info',
] as const
export type Request = (typeof REQUESTS)[number]

const READERS = ['member', 'first', 'company']

interface Kind {
  /** How the repo is while the mirror is warmed. */
  readonly before: 'open' | 'private' | 'gated'
  /** What happens to it then; beliefs are over afterwards. Undefined: it stays, and beliefs hold. */
  readonly turn?: (repo: Repo) => void
}

export const KINDS = {
  public: { before: 'open' },
  private: { before: 'private' },
  gated: { before: 'gated' },
  disabled: { before: 'open', turn: (repo) => void repo.disabled() },
  'made private': { before: 'open', turn: (repo) => void repo.private(READERS) },
  'closed by a gate': { before: 'open', turn: (repo) => void repo.gated('manual', READERS) },
  'gated, access withdrawn': { before: 'gated', turn: (repo) => void repo.closeGate([]) },
  'no longer gated': { before: 'gated', turn: (repo) => void repo.open() },
  deleted: { before: 'open', turn: (repo) => void repo.delete() },
  renamed: { before: 'open', turn: (repo) => void repo.renamedTo(`${repo.id}-new`) },
  'renamed and made private': {
    before: 'open',
    turn: (repo) => void repo.private(READERS).renamedTo(`${repo.id}-new`),
  },
} as const satisfies Record<string, Kind>
export type KindName = keyof typeof KINDS

export interface Cell {
  readonly kind: KindName
  readonly caller: Caller
  readonly state: State
  readonly request: Request
  /** HUBMIRROR_CACHE_PRIVATE. */
  readonly cachePrivate: boolean
}

/** Every cell of a state with these requests, none left out. */
export function cellsOf(
  state: State,
  cachePrivate: boolean,
  group: Group,
  requests: readonly Request[] = REQUESTS,
): Cell[] {
  return (Object.keys(KINDS) as KindName[]).flatMap((kind) =>
    CALLERS[group].flatMap((caller) =>
      requests.map((request) => ({ kind, caller, state, request, cachePrivate })),
    ),
  )
}

export function kindOf(cell: Cell): Kind {
  return KINDS[cell.kind]
}

export const isFile = ({ request }: Cell): boolean => request !== 'tree' && request !== 'info'
export const isHead = ({ request }: Cell): boolean => request.startsWith('HEAD')

/** Whether the caller may read what is closed. */
export const isReader = ({ caller }: Cell): boolean => caller === 'member' || caller === 'mirror token'

/** A world with the callers and no repo yet. */
export function tableWorld(): World {
  const world = new World()
  world.addUser('member', { token: SECRETS.member })
  world.addUser('other', { token: SECRETS.other })
  world.addUser('first', { token: SECRETS.first })
  world.addUser('company', { token: SECRETS.company })
  return world
}

/** The repo of a cell: of its own, with bytes that are nowhere else. */
export interface CellRepo {
  readonly repo: Repo
  readonly id: string
  readonly small: Buffer
  readonly large: Buffer
  /** What tells of the repo, wherever it stands. */
  readonly canaries: readonly string[]
}

export const LARGE_BYTES = 48_000

export function makeRepo(world: World, cell: Cell, index: number): CellRepo {
  const id = `acme/cell-${cell.cachePrivate ? 'on' : 'off'}-${index}-x`
  const small = Buffer.from(`{"canary of":"${id}"}\n`)
  const key = createHash('sha256').update(id).digest().subarray(0, 16)
  const large = createCipheriv('aes-128-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(LARGE_BYTES))
  const repo = world.model(id)
  const { before } = kindOf(cell)
  if (before === 'private') repo.private(READERS)
  if (before === 'gated') repo.gated('manual', READERS)
  const commit = repo.commit({ 'config.json': small.toString(), 'w.bin': lfs(large) })
  const files = repo.resolve('main')?.files
  const canaries = [
    id,
    small.toString().trim(),
    commit,
    files?.get('config.json')?.oid ?? '',
    files?.get('w.bin')?.lfs?.sha256 ?? '',
    large.subarray(0, 48).toString('latin1'),
    large.subarray(30_000, 30_048).toString('latin1'),
  ]
  return { repo, id, small, large, canaries }
}

export function targetOf(request: Request, id: string): string {
  if (request === 'tree') return `/api/models/${id}/tree/main?recursive=true`
  if (request === 'info') return `/api/models/${id}`
  return `/${id}/resolve/main/${request.endsWith('small') ? 'config.json' : 'w.bin'}`
}

export function questionOf({ request, caller }: Cell): {
  readonly method: string
  readonly token: string | undefined
  readonly headers: Record<string, string>
} {
  return {
    method: request.startsWith('HEAD') ? 'HEAD' : 'GET',
    token: CREDENTIALS[caller].shown,
    headers: request.startsWith('Range') ? { range: 'bytes=5-14' } : {},
  }
}

/** With which credential the Hub is asked for the caller. */
export function credentialOf({ caller }: Cell): string | undefined {
  return CREDENTIALS[caller].asked
}

/** The bytes that a client may be given, if any. */
export function bytesOf({ request }: Cell, { small, large }: CellRepo): Buffer {
  const file = request.endsWith('small') ? small : large
  return request.startsWith('Range') ? file.subarray(5, 15) : file
}

/** How the answer must be: as the Hub's own; as the Hub's own was when the mirror was warmed; or the mirror's own no. */
export type Answer = 'as the Hub' | 'as stored' | 'away' | 'token refused'

/** A first-hand question to the Hub about the repo: whose, and for what. */
export type Asked =
  | 'own HEAD file'
  | 'own GET file'
  | 'own GET document'
  | 'stranger HEAD file'
  | 'stranger GET info'

export interface Expected {
  readonly answer: Answer
  /** The questions that the Hub gets on behalf of the cell's request, in any order; no others. */
  readonly asked: readonly Asked[]
  /** How often the CDN is asked for bytes. */
  readonly cdn: number
}

/** What the rules say of a cell. `allowed`: the Hub itself, asked directly, lets this caller in now. */
export function expectedOf(cell: Cell, allowed: boolean): Expected {
  const { state, request, caller } = cell
  // It opens nothing, not even public repos: its holder must learn that it has ended.
  if (caller === 'expired mirror token') return { answer: 'token refused', asked: [], cdn: 0 }
  const wasOpen = kindOf(cell).before === 'open'
  // The request that has warmed the mirror showed that the repo is public; that was not long ago, and nothing has contradicted it.
  const isTrusted = cell.kind === 'public' && (state === 'warm' || state === 'during a pull')
  if (isDown(state)) {
    // The last word of the Hub counts while it is away: what was public is served, and within the grace what it has shown to
    // this very caller, if that is stored.
    const isGranted = state === 'origin down, in grace' && cell.cachePrivate && isReader(cell)
    return { answer: wasOpen || isGranted ? 'as stored' : 'away', asked: [], cdn: 0 }
  }
  // What was asked for a moment ago is given again.
  if (!isFile(cell) && isTrusted && state === 'warm') return { answer: 'as stored', asked: [], cdn: 0 }
  if (!isFile(cell))
    return { answer: 'as the Hub', asked: twiceWhereMoved(cell, ['own GET document']), cdn: 0 }
  // Public bytes are public, whatever the caller's token is.
  if (isTrusted) return { answer: 'as stored', asked: [], cdn: 0 }
  return {
    answer: 'as the Hub',
    asked: [...twiceWhereMoved(cell, askedOf(cell)), ...bodyOf(cell, allowed)],
    cdn: cdnOf(cell, allowed),
  }

  function askedOf({ kind }: Cell): Asked[] {
    // One HEAD for right, commit and digest. Beside it the mirror asks without a token for file and info, if that is not known.
    const isKnown = (kind === 'private' || kind === 'gated') && state !== 'cold'
    if (isKnown) return ['own HEAD file']
    if (credentialOf(cell) === undefined) return ['own HEAD file', 'stranger GET info']
    return ['own HEAD file', 'stranger HEAD file', 'stranger GET info']
  }

  function bodyOf(body: Cell, may: boolean): Asked[] {
    // The large ones come from where the HEAD was led to.
    return may && fetches(body) && request.endsWith('small') ? ['own GET file'] : []
  }

  function cdnOf(body: Cell, may: boolean): number {
    return may && fetches(body) && request.endsWith('large') ? 1 : 0
  }
}

/**
 * With rules, a question that the Hub answers with another name is asked again, once the rules have decided about that
 * name, too. The Hub says so to callers who may know of the repo.
 */
function twiceWhereMoved(cell: Cell, asked: readonly Asked[]): Asked[] {
  const hasRules = CALLERS.issued.some((caller) => caller === cell.caller)
  if (!hasRules || !cell.kind.startsWith('renamed')) return [...asked]
  const isForAll = cell.kind === 'renamed'
  return asked.flatMap((one) => {
    const isTold = isForAll || (one.startsWith('own') && isReader(cell))
    return isTold ? [one, one] : [one]
  })
}

/** Whether an allowed GET needs the origin for its bytes. */
function fetches(cell: Cell): boolean {
  if (isHead(cell)) return false
  if (cell.state === 'cold') return true
  const { before } = kindOf(cell)
  const isOpenNow = ['public', 'no longer gated', 'renamed'].includes(cell.kind)
  // What was stored while the repo was public, or is stored anyway, comes from the disk for callers with the right.
  const isStored = cell.cachePrivate || before === 'open'
  const mayBeRead = cell.cachePrivate || isOpenNow
  return !(isStored && mayBeRead)
}

/** The one-way part of the rule: which code a client sees where the Hub sends none. */
export function codeOf(direct: Reply, hubCode: string | undefined): string | undefined {
  const isBadToken = direct.headers['x-error-message'] === 'Invalid credentials in Authorization header'
  // Python takes a bare 401 for "no such repo" over https only: the mirror says it.
  return direct.status === 401 && hubCode === undefined && !isBadToken ? 'RepoNotFound' : hubCode
}
