// API routes that are about no single repo: lists, whoami, organisations, and what clients ask in passing.
// Knows no file.

import { type Caller, callerOf, judgeMetadata, REFUSALS } from './access.ts'
import type { Exchange, HeaderMap } from './exchange.ts'
import { type HubState, redirect, refuse, sendJson } from './hub.ts'
import { isTrue, nextLink, readCursor, repoInfo, writeCursor } from './metadata.ts'
import type { RepoType } from './repos.ts'

const LARGEST_PAGE = 1000

/** GET /api/models and its sisters: what the caller may know of. */
export async function answerList(hub: HubState, exchange: Exchange, type: RepoType): Promise<void> {
  const { query } = exchange
  const caller = callerOf(hub.world, exchange.request.headers)
  if (caller.kind === 'invalid') return refuse(exchange, REFUSALS.invalidCredentials)
  const searches = query.getAll('search').map((text) => text.toLowerCase())
  const author = query.get('author')
  const tags = [...query.getAll('filter'), ...query.getAll('pipeline_tag')]
  const all = hub.world
    .list(type)
    .filter((repo) => judgeMetadata(hub.world, caller, { repo, how: 'exact' }) === undefined)
    .filter((repo) => searches.every((text) => repo.id.toLowerCase().includes(text)))
    .filter((repo) => author === null || repo.id.startsWith(`${author}/`))
    .map((repo) => repoInfo(hub, repo, repo.resolve('main'), false))
    .filter((info) => tags.every((tag) => (info['tags'] as string[]).includes(tag)))
  const sort = query.get('sort')
  const factor = query.get('direction') === '1' ? 1 : -1
  if (sort !== null)
    all.sort((one, other) => {
      const [left, right] = [one[sort], other[sort]] as [string | number, string | number]
      return left === right ? 0 : left < right ? -factor : factor
    })
  const limit = Math.max(
    1,
    Math.min(Number(query.get('limit') ?? LARGEST_PAGE) || LARGEST_PAGE, LARGEST_PAGE),
  )
  const start = readCursor(query.get('cursor'))
  const headers: HeaderMap = {}
  if (start + limit < all.length) {
    const next = new URLSearchParams(query)
    next.set('cursor', writeCursor(start + limit))
    headers['Link'] = nextLink(hub, exchange, next)
  }
  const isFull = isTrue(query.get('full'))
  const fields = new Set(['_id', 'id', ...query.getAll('expand')])
  const page = all.slice(start, start + limit).map(({ siblings, ...info }) => {
    if (fields.size > 2) return Object.fromEntries(Object.entries(info).filter(([name]) => fields.has(name)))
    return isFull ? { ...info, siblings } : info
  })
  await sendJson(exchange, page, { headers })
}

/** Routes under /api that name no repo. `false`: not one of them. */
export async function answerGeneral(
  hub: HubState,
  exchange: Exchange,
  segments: readonly string[],
): Promise<boolean> {
  const [first, second, third] = segments
  const { method } = exchange
  if (first === 'whoami-v2' && segments.length === 1) await answerWhoami(hub, exchange)
  else if (first === 'telemetry' && method === 'HEAD') await exchange.send({ status: 200 })
  else if (first === 'validate-yaml' && method === 'POST') {
    await exchange.readBody()
    await sendJson(exchange, { errors: [], warnings: [] })
  } else if (
    (first === 'organizations' || first === 'users') &&
    second !== undefined &&
    third !== undefined &&
    segments.length === 3
  ) {
    await answerAccount(hub, exchange, { kind: first, name: second, what: third })
  } else if (method === 'GET' || method === 'HEAD') return answerSite(hub, exchange, segments)
  else return false
  return true
}

/** Lists in the place of an id. */
export const SPACE_LISTS: ReadonlySet<string> = new Set(['hardware', 'templates', 'semantic-search'])
const COLLECTION = 'acme/best-of-1234567890'
const PRIVATE_COLLECTION = 'alice/drafts-1234567890'

/** Collections, papers, and lists of tags: one of each, and a collection that only Alice may see. `false`: not one of them. */
async function answerSite(hub: HubState, exchange: Exchange, segments: readonly string[]): Promise<boolean> {
  const [first, ...rest] = segments
  const caller = callerOf(hub.world, exchange.request.headers)
  if (caller.kind === 'invalid') await refuse(exchange, REFUSALS.invalidCredentials)
  else if (first === 'collections' && (rest.length === 0 || rest.length === 2)) {
    const isOwner = caller.kind === 'user' && caller.name === 'alice'
    const all = [COLLECTION, ...(isOwner ? [PRIVATE_COLLECTION] : [])].map((slug) => ({
      slug,
      title: slug.split('/')[1],
      // What people have written stays as it is.
      description: `see ${hub.url}/acme/open`,
      url: `${hub.url}/collections/${slug}`,
      private: slug === PRIVATE_COLLECTION,
      items: [{ type: 'model', id: 'acme/open' }],
    }))
    const one = all.find(({ slug }) => slug === rest.join('/'))
    if (rest.length === 0) await sendJson(exchange, all)
    else if (one === undefined) await refuse(exchange, { status: 404, message: 'Collection not found' })
    else await sendJson(exchange, one)
  } else if (first === 'papers' && rest.length === 1) {
    await sendJson(exchange, { id: rest[0], title: `Paper ${rest[0]}`, url: `${hub.url}/papers/${rest[0]}` })
  } else if (first === 'daily_papers' && rest.length === 0) {
    await sendJson(exchange, [{ paper: { id: '2601.00001' } }])
  } else if (first === 'spaces' && SPACE_LISTS.has(rest[0] ?? '') && rest.length === 1) {
    await sendJson(exchange, [{ name: rest[0] }])
  } else if (first === 'tasks' && rest.length === 0) {
    await sendJson(exchange, { 'text-generation': { models: [{ id: 'acme/open' }] } })
  } else if (first?.endsWith('-tags-by-type') === true && rest.length === 0) {
    await sendJson(exchange, { library: [{ type: 'library', id: 'transformers', label: 'Transformers' }] })
  } else return false
  return true
}

async function answerWhoami(hub: HubState, exchange: Exchange): Promise<void> {
  const caller: Caller = callerOf(hub.world, exchange.request.headers)
  if (caller.kind === 'anonymous') return refuse(exchange, REFUSALS.anonymous)
  if (caller.kind === 'invalid') return refuse(exchange, REFUSALS.invalidCredentials)
  const { name, token } = caller
  const orgs = hub.world.users.get(name)?.orgs ?? []
  const fineGrained = {
    global: [],
    scoped: token.repos.map((repo) => ({
      entity: { _id: idOf(repo), type: 'model', name: repo },
      permissions: ['repo.content.read'],
    })),
  }
  await sendJson(exchange, {
    type: 'user',
    id: idOf(name),
    name,
    fullname: name,
    email: `${name}@simulator.invalid`,
    emailVerified: true,
    canPay: false,
    isPro: false,
    periodEnd: null,
    avatarUrl: `/avatars/${name}.svg`,
    orgs: orgs.map((org) => ({ type: 'org', id: idOf(org), name: org, fullname: org })),
    auth: {
      type: 'access_token',
      accessToken: {
        displayName: 'simulator',
        role: token.role,
        createdAt: '2026-01-01T00:00:00.000Z',
        ...(token.role === 'fineGrained' ? { fineGrained } : {}),
      },
    },
  })
}

/** What the Hub says of a user or an organization. Callers with a token see of it what concerns them. */
async function answerAccount(
  hub: HubState,
  exchange: Exchange,
  { kind, name, what }: { readonly kind: string; readonly name: string; readonly what: string },
): Promise<void> {
  const caller = callerOf(hub.world, exchange.request.headers)
  if (caller.kind === 'invalid') return refuse(exchange, REFUSALS.invalidCredentials)
  const isUser = kind === 'users'
  const isKnown = isUser
    ? hub.world.users.has(name)
    : hub.world.list('models').some(({ id }) => id.startsWith(`${name}/`))
  if (!isKnown)
    return refuse(exchange, { status: 404, message: `${isUser ? 'User' : 'Organization'} not found` })
  const overview = {
    _id: idOf(name),
    name,
    fullname: name,
    avatarUrl: `/avatars/${name}.svg`,
    type: isUser ? 'user' : 'org',
    ...(caller.kind === 'user' ? { isFollowing: true } : {}),
  }
  const people = [{ _id: idOf('alice'), user: 'alice', fullname: 'alice', avatarUrl: '/avatars/alice.svg' }]
  const likes = [{ createdAt: '2026-01-01T00:00:00.000Z', repo: { name: 'acme/open', type: 'model' } }]
  switch (what) {
    case 'overview':
      return sendJson(exchange, overview)
    case 'avatar':
      return redirect(exchange, 307, `${hub.cdnUrl}/avatars/${name}.svg`)
    case 'followers':
    case isUser ? 'following' : 'members':
      return sendJson(exchange, people)
    case isUser ? 'likes' : '':
      return sendJson(exchange, likes)
    default:
      return refuse(exchange, { status: 404, message: 'Not found' })
  }
}

function idOf(name: string): string {
  return Buffer.from(name.padEnd(12, '.')).toString('hex').slice(0, 24)
}
