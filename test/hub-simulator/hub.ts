// What the routes of the simulated Hub share: its state, the headers every answer carries, and how it says
// no, redirects, and speaks JSON. Knows no single route.

import { createHash, randomBytes } from 'node:crypto'
import type { Caller, Refusal } from './access.ts'
import type { Exchange, HeaderMap } from './exchange.ts'
import type { Repo, RepoType, World } from './repos.ts'

/** The state behind both servers. Values a test may change while they run are read at each request. */
export interface HubState {
  readonly world: World
  /** Absolute base URLs, without a slash at the end. */
  readonly url: string
  readonly cdnUrl: string
  readonly datasetsServerUrl: string
  readonly xet: boolean
  readonly pageSize: number
  /** Objects larger than this are uploaded in parts of it, by clients that can. */
  readonly partBytes: number
  /** Parts of uploads by their CDN path, until the upload is complete. */
  readonly parts: Map<string, Buffer>
  /** Serves git: `GitServer`. */
  readonly git: {
    answer(
      hub: HubState,
      exchange: Exchange,
      target: { readonly type: RepoType; readonly id: string; readonly service: string },
    ): Promise<void>
    close(): Promise<void>
  }
  /** Key of the signatures in CDN URLs. */
  readonly secret: string
  signedUrlSeconds: number
  bytesPerSecond: number | undefined
}

/** What a repo route has once access is granted. */
export interface RepoRequest {
  readonly repo: Repo
  readonly caller: Caller
  readonly action: string | undefined
  readonly rest: readonly string[]
}

const EXPOSED =
  'X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range,X-Linked-Size,X-Linked-ETag,X-Xet-Hash'
const UNAUTHENTICATED =
  'unauthenticated; Warning: You are sending unauthenticated requests to the HF Hub. Please set a HF_TOKEN to enable higher rate limits and faster downloads.'
const QUOTAS = { api: 500, resolvers: 3000, pages: 100 } as const

/** The headers of every answer of the Hub server. */
export function hubHeaders(exchange: Exchange): HeaderMap {
  const trace = exchange.header('x-amzn-trace-id')
  const bucket = bucketOf(exchange.rawPath)
  const quota = QUOTAS[bucket]
  const id = randomBytes(16).toString('hex')
  const headers: HeaderMap = {
    'X-Powered-By': 'huggingface-moon',
    'X-Request-Id': `Root=1-${id.slice(0, 8)}-${id.slice(8)}${trace === undefined ? '' : `;${trace}`}`,
    RateLimit: `"${bucket}";r=${quota - 1};t=172`,
    'RateLimit-Policy': `"fixed window";"${bucket}";q=${quota};w=300`,
    Vary: 'Origin, Accept',
    'Access-Control-Expose-Headers': EXPOSED,
    'Referrer-Policy': 'strict-origin-when-cross-origin',
  }
  if (exchange.header('authorization') === undefined) headers['X-HF-Warning'] = UNAUTHENTICATED
  return headers
}

/** Sends compact JSON: clients search it as text. As the Hub's framework does it, with a weak ETag and conditional requests. */
export async function sendJson(
  exchange: Exchange,
  value: unknown,
  options: { readonly status?: number; readonly headers?: HeaderMap } = {},
): Promise<void> {
  const { status = 200 } = options
  const body = JSON.stringify(value)
  const etag = weakEtag(body)
  const isRead = exchange.method === 'GET' || exchange.isHead
  if (status === 200 && isRead && isKnown(exchange.header('if-none-match'), etag))
    return exchange.send({ status: 304, headers: { ETag: etag, ...options.headers } })
  await exchange.send({
    status,
    headers: { 'Content-Type': 'application/json; charset=utf-8', ETag: etag, ...options.headers },
    body,
  })
}

/** Length and digest of the text, which depends on nothing else. */
function weakEtag(body: string): string {
  const digest = createHash('sha1').update(body).digest('base64').slice(0, 27)
  return `W/"${Buffer.byteLength(body).toString(16)}-${digest}"`
}

function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  const bare = etag.replace('W/', '')
  return ifNoneMatch?.split(',').some((tag) => ['*', bare, etag].includes(tag.trim())) === true
}

/** Says no: JSON under /api, text elsewhere, with the error headers either way. */
export async function refuse(
  exchange: Exchange,
  refusal: Refusal,
  challenge = 'Bearer realm="Authentication required"',
): Promise<void> {
  const isApi = exchange.rawPath.startsWith('/api/') && !exchange.rawPath.startsWith('/api/resolve-cache/')
  const headers: HeaderMap = { 'X-Error-Message': refusal.message }
  if (refusal.code !== undefined) headers['X-Error-Code'] = refusal.code
  if (refusal.commit !== undefined) headers['X-Repo-Commit'] = refusal.commit
  if (refusal.challenge) headers['WWW-Authenticate'] = challenge
  if (isApi) return sendJson(exchange, { error: refusal.message }, { status: refusal.status, headers })
  await exchange.send({
    status: refusal.status,
    headers: { 'Content-Type': 'text/plain; charset=utf-8', ...headers },
    body: refusal.message,
  })
}

/** A redirect with the text body that makes its Content-Length useless as a file size. */
export async function redirect(
  exchange: Exchange,
  status: 302 | 307,
  location: string,
  headers: HeaderMap = {},
): Promise<void> {
  await exchange.send({
    status,
    headers: { 'Content-Type': 'text/plain; charset=utf-8', Location: location, ...headers },
    body: `${status === 302 ? 'Found' : 'Temporary Redirect'}. Redirecting to ${location}`,
  })
}

/** 404 as the API says it of a route it does not have. */
export async function notFound(exchange: Exchange): Promise<void> {
  await sendJson(exchange, { error: "Sorry, we can't find the page you are looking for." }, { status: 404 })
}

/** A web page, of which only status and type matter. */
export async function sendHtml(exchange: Exchange, status: number, title: string): Promise<void> {
  await exchange.send({
    status,
    headers: { 'Content-Type': 'text/html; charset=utf-8' },
    body: `<!doctype html><html><head><title>${escapeHtml(title)}</title></head><body><h1>${escapeHtml(title)}</h1></body></html>`,
  })
}

/** Percent-encodes a path segment by segment. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/')
}

/** `datasets/ns/name`, `ns/name`: a repo as its web path, without the slash in front. */
export function webPath(repo: Pick<Repo, 'type' | 'id'>): string {
  return repo.type === 'models' ? repo.id : `${repo.type}/${repo.id}`
}

export function isRepoType(text: string | undefined): text is RepoType {
  return text === 'models' || text === 'datasets' || text === 'spaces' || text === 'kernels'
}

function bucketOf(rawPath: string): keyof typeof QUOTAS {
  if (rawPath.startsWith('/api/resolve-cache/') || /\/(resolve|raw)\//.test(rawPath)) return 'resolvers'
  return rawPath.startsWith('/api/') ? 'api' : 'pages'
}

function escapeHtml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')
}
