// What the server at the endpoint does with requests as clients send them: whether it is a Hub, whom it takes this client
// for, what it may read, and whether headers, ranges and links survive.

import { randomBytes } from 'node:crypto'
import {
  addressOf,
  ask,
  below,
  codeOf,
  ElsewhereFailed,
  follow,
  isRedirect,
  type Seen,
  touch,
  type Way,
} from './ask.ts'
import type { CheckId } from './checks.ts'
import type { Report } from './report.ts'

export interface Subject {
  readonly way: Way
  /** Without a slash at the end of its path. */
  readonly endpoint: URL
  readonly token: string | undefined
  /** Where the token came from. */
  readonly source: string
  /** `models`, `datasets` or `spaces`, and the id. */
  readonly kind: string
  readonly repo: string
  readonly isNamed: boolean
  readonly file: string | undefined
}

/** Where a mirror is often mounted: tried if there is no Hub at the endpoint. */
const USUAL_PREFIXES = ['', '/hugging-face', '/huggingface', '/hf', '/hub']

const FILE_CHECKS: readonly CheckId[] = ['headers', 'encoding', 'range', 'conditional', 'xet', 'cors']

/** Fills endpoint. Resolves with the answer to a caller without a token, or undefined if there is no Hub. */
export async function checkEndpoint(
  report: Report,
  subject: Subject,
  query: string,
): Promise<Seen | undefined> {
  const { way, endpoint } = subject
  const base = endpoint.href.replace(/\/+$/, '')
  let seen: Seen
  try {
    seen = await ask(way, below(endpoint, `/api/whoami-v2${query}`))
  } catch (error) {
    report.found('endpoint-failed', { endpoint: base, error: codeOf(error) })
    return undefined
  }
  const { status, headers } = seen
  const type = headers['content-type'] ?? 'no type'
  const server = /hubmirror/.test(headers['cache-status'] ?? '') ? ' (hubmirror)' : ''
  if (isRedirect(seen)) {
    report.found('endpoint-elsewhere', { endpoint: base, status, target: headers['location'] ?? '' })
    return undefined
  }
  if (isOfHub(seen) && (status < 400 || [401, 403, 429].includes(status))) {
    report.found('endpoint-ok', { endpoint: base, server })
    return seen
  }
  if (isOfHub(seen) && (status >= 500 || isOffline(seen))) {
    report.found('endpoint-hub-away', { endpoint: base, status, said: said(seen) })
    return seen
  }
  // A mirror may know repos and not accounts.
  const info = await ask(way, below(endpoint, `/api/${subject.kind}/${subject.repo}`)).catch(() => undefined)
  if (info?.status === 200 && isRepo(info)) {
    report.found('endpoint-ok', { endpoint: base, server })
    return seen
  }
  if (status >= 500) report.found('endpoint-gateway', { status })
  else if (status === 401) {
    report.found('endpoint-login', { status, challenge: headers['www-authenticate'] ?? 'no challenge' })
  } else {
    const other = await otherPrefix(subject)
    const finding = /html/i.test(type) && status < 400 ? 'endpoint-page' : 'endpoint-prefix'
    report.found(finding, { endpoint: base, status, type, other })
  }
  return undefined
}

async function otherPrefix({ way, endpoint }: Subject): Promise<string> {
  for (const prefix of USUAL_PREFIXES) {
    const url = new URL(`${prefix}/api/whoami-v2`, endpoint.origin)
    if (url.href === below(endpoint, '/api/whoami-v2').href) continue
    const seen = await ask(way, url).catch(() => undefined)
    if (seen !== undefined && seen.status === 401 && isOfHub(seen))
      return `There is one at ${endpoint.origin}${prefix}.`
  }
  return ''
}

function isOfHub({ headers }: Seen): boolean {
  return /json/i.test(headers['content-type'] ?? '')
}

/** Whether a mirror without the Hub says that it cannot answer this. */
function isOffline({ headers }: Seen): boolean {
  return [headers['x-error-code'], headers['x-hf-warning']].some((one) => one?.startsWith('OfflineAnd'))
}

/** What the server says about an answer, in one short text without a stop at its end. */
function said({ headers, text }: Seen): string {
  return (headers['x-error-message'] ?? text.slice(0, 200)).replace(/\.$/, '')
}

function json(seen: Seen): unknown {
  try {
    return JSON.parse(seen.text)
  } catch {
    return undefined
  }
}

function field(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[name] : undefined
}

/** Whether this is what a Hub says of a repo. What is cut cannot be parsed. */
function isRepo(seen: Seen): boolean {
  return typeof field(json(seen), 'id') === 'string' || (seen.isCut && isOfHub(seen))
}

/** The names of files in an answer about a repo, in their order, also if it is cut. */
export function filesOf({ text }: Seen): readonly string[] {
  const names = /"rfilename"\s*:\s*("(?:[^"\\\p{Cc}]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*")/gu
  return [...text.matchAll(names)].map(([, name = '']) => String(JSON.parse(name)))
}

/** Fills token-form, token-forwarded and token-valid. Resolves with the name of the account, if the token is accepted. */
export async function checkToken(
  report: Report,
  { way, endpoint, token, source }: Subject,
  anonymous: Seen,
  query: string,
): Promise<string | undefined> {
  if (anonymous.status >= 500 || anonymous.status === 404) {
    report.skip(['token-forwarded', 'token-valid'], 'away')
    return undefined
  }
  const base = endpoint.href.replace(/\/+$/, '')
  const whoami = below(endpoint, `/api/whoami-v2${query}`)
  const mine = token === undefined ? undefined : await ask(way, whoami, { token })
  // Well formed, so that no server refuses its form, and never issued.
  const wrong = await ask(way, whoami, { token: `hf_${randomBytes(17).toString('hex')}` })
  if (anonymous.status === 200 || wrong.status === 200) report.found('token-shared')
  else if (mine?.status === 200 || !isSame(anonymous, wrong)) report.found('token-forwarded-ok')
  else if (anonymous.status === 429) report.skip(['token-forwarded'], 'away')
  // Some Hubs say the same to both here. A list is refused to a wrong token, and not to a caller without one.
  else {
    const list = below(endpoint, `/api/models?limit=1${query.replace('?', '&')}`)
    const [free, refused] = [await ask(way, list), await ask(way, list, { token: 'hf_'.padEnd(37, 'x') })]
    if (free.status !== 200) report.skip(['token-forwarded'], 'none')
    else if (refused.status === 200) report.found('token-dropped', { endpoint: base })
    else if (refused.status === 401 || refused.status === 403) report.found('token-forwarded-ok')
    else report.skip(['token-forwarded'], 'none')
  }
  if (mine === undefined) {
    report.skip(['token-valid'], 'token')
    return undefined
  }
  const lines = report.lines()
  if (lines.some(({ id, status }) => id === 'token-forwarded' && status === 'fail')) return undefined
  if (mine.status === 200) {
    const [name, id] = [field(json(mine), 'name'), field(json(mine), 'id')]
    const isMirror = typeof id === 'string' && id.startsWith('mirror-token-')
    const account = typeof name === 'string' ? name : 'unknown'
    report.found('token-ok', { name: account, kind: isMirror ? 'the mirror token' : 'a Hub token' })
    return account
  }
  if (mine.status === 401 || mine.status === 403) {
    report.found('token-wrong', { endpoint: base, source })
  } else report.found('token-quota', { status: mine.status, said: said(mine) })
  return undefined
}

function isSame(one: Seen, other: Seen): boolean {
  const messageOf = (seen: Seen): string => `${seen.status} ${seen.headers['x-error-message'] ?? seen.text}`
  return messageOf(one) === messageOf(other)
}

/** The smallest file of the repo that is kept in Git LFS or Xet, or the smallest of all. */
export interface Sample {
  readonly path: string
  readonly size: number | undefined
  readonly hasXetHash: boolean
  readonly link: string | undefined
}

/** Fills repo-access and gate. Resolves with a file to try, if one can be read; `needsToken` if a token is missing. */
export async function checkRepo(
  report: Report,
  subject: Subject,
  name: string | undefined,
): Promise<Sample | undefined> {
  const { way, endpoint, token, kind, repo, isNamed } = subject
  const use = name === undefined ? undefined : token
  const info = await follow(way, below(endpoint, `/api/${kind}/${repo}`), { token: use })
  let refusal = info.status === 200 ? undefined : info
  let sample: Sample | undefined
  if (refusal === undefined) {
    sample = await sampleOf(subject, use, info)
    const first = await ask(way, fileUrl(subject, sample.path), { method: 'HEAD', token: use })
    if ([401, 403].includes(first.status)) refusal = first
  }
  const label = `${kind === 'models' ? '' : `${kind}/`}${repo}`
  if (refusal === undefined) {
    report.found('repo-ok', { repo: label })
    report.found('gate-none', { repo: label })
    return sample
  }
  const { status, headers } = refusal
  const isRefusedHere = /refused-here/.test(headers['cache-status'] ?? '')
  if (!isNamed) report.found('repo-none', { repo: label })
  else if (isRefusedHere) report.found('repo-refused', { repo: label, said: said(refusal) })
  else if (isOffline(refusal)) report.found('repo-absent', { repo: label, said: said(refusal) })
  else if (use === undefined && [401, 403, 404].includes(status)) {
    if (token === undefined) report.found('token-needed', { repo: label })
  } else if (headers['x-error-code'] === 'GatedRepo') {
    report.found('repo-ok', { repo: label })
    const page = `https://huggingface.co/${label}`
    report.found('gate-closed', { repo: label, name: name ?? '', page })
  } else if ([401, 403, 404].includes(status)) report.found('repo-denied', { repo: label, name: name ?? '' })
  else report.found('repo-error', { repo: label, status, said: said(refusal) })
  return undefined
}

async function sampleOf(subject: Subject, token: string | undefined, info: Seen): Promise<Sample> {
  const { way, endpoint, kind, repo, file } = subject
  const tree = await follow(way, below(endpoint, `/api/${kind}/${repo}/tree/main?recursive=true`), { token })
  const list: unknown = tree.status === 200 ? json(tree) : undefined
  const files = (Array.isArray(list) ? list : [])
    .map((entry: unknown) => ({
      path: String(field(entry, 'path')),
      size: Number(field(entry, 'size')),
      isLarge: field(entry, 'lfs') !== undefined,
      hasXetHash: typeof field(entry, 'xetHash') === 'string',
      type: field(entry, 'type'),
    }))
    .filter(({ type, size }) => type === 'file' && size > 0)
    .sort((a, b) => Number(b.isLarge) - Number(a.isLarge) || a.size - b.size)
  const link = tree.headers['link']
  const found = file === undefined ? files[0] : files.find(({ path }) => path === file)
  const path = found?.path ?? file ?? filesOf(info)[0] ?? 'config.json'
  const hasXetHash =
    files.some((one) => one.hasXetHash) || (tree.isCut && /"xetHash"\s*:\s*"/.test(tree.text))
  return { path, size: found?.size, hasXetHash, link }
}

function fileUrl({ endpoint, kind, repo }: Subject, path: string): URL {
  const name = path.split('/').map(encodeURIComponent).join('/')
  return below(endpoint, `/${kind === 'models' ? '' : `${kind}/`}${repo}/resolve/main/${name}`)
}

/** Fills headers, encoding, range, conditional, xet and cors. */
export async function checkFile(
  report: Report,
  subject: Subject,
  token: string | undefined,
  sample: Sample | undefined,
): Promise<void> {
  if (sample === undefined) {
    report.skip(FILE_CHECKS, 'repo')
    return
  }
  const { way, endpoint } = subject
  const url = fileUrl(subject, sample.path)
  const file = sample.path
  let head = await ask(way, url, { method: 'HEAD', token })
  const commit = head.headers['x-repo-commit'] ?? ''
  // Clients follow a redirect that stays at the host, as the Hub sends it for small files.
  for (let hop = 0; hop < 5 && isRedirect(head); hop++) {
    const next = new URL(head.headers['location'] ?? '', head.url)
    if (next.origin !== endpoint.origin) break
    head = await ask(way, next, { method: 'HEAD', token })
  }
  const { headers, status } = head
  const length = headers['x-linked-size'] ?? headers['content-length']
  if (status >= 400) report.found('headers-failed', { file, status, said: said(head) })
  else if (!/^[0-9a-f]{40}$/.test(headers['x-repo-commit'] ?? commit))
    report.found('headers-commit', { file })
  else if ((headers['x-linked-etag'] ?? headers['etag']) === undefined) report.found('headers-etag', { file })
  else if (length === undefined || (sample.size !== undefined && Number(length) !== sample.size))
    report.found('headers-length', { file, length: length ?? '(none)', size: sample.size ?? 'other' })
  else report.found('headers-ok', { file })
  if (status >= 400) {
    report.skip(FILE_CHECKS, 'before', { check: 'headers' })
    return
  }
  const gzip = await ask(way, head.url, { method: 'HEAD', token, headers: { 'accept-encoding': 'gzip, br' } })
  const encoding = gzip.headers['content-encoding'] ?? ''
  report.found(encoding === '' ? 'encoding-ok' : 'encoding-compressed', { file, encoding })
  await checkRange(report, subject, token, sample)
  const origin = await ask(way, head.url, {
    method: 'HEAD',
    token,
    headers: { origin: 'https://example.com' },
  })
  report.found(origin.headers['access-control-allow-origin'] === undefined ? 'cors-missing' : 'cors-ok')
  await checkXet(report, subject, token, sample, head)
}

async function checkRange(
  report: Report,
  subject: Subject,
  token: string | undefined,
  sample: Sample,
): Promise<void> {
  const { way } = subject
  const url = fileUrl(subject, sample.path)
  const file = sample.path
  try {
    const part = await follow(way, url, { token, headers: { range: 'bytes=0-0' } })
    const range = part.headers['content-range'] ?? '(none)'
    const isRight = part.status === 206 && /^bytes 0-0\/\d+$/.test(range) && part.bytes === 1
    report.found(isRight ? 'range-ok' : 'range-ignored', { file, status: part.status, range })
    const etag = part.headers['etag']
    if (etag === undefined) return
    const same = await follow(way, url, { method: 'HEAD', token, headers: { 'if-none-match': etag } })
    report.found(same.status === 304 ? 'conditional-ok' : 'conditional-ignored', { status: same.status })
  } catch (error) {
    if (!(error instanceof ElsewhereFailed)) throw error
    report.found('range-unreachable', { file, target: error.target.host, error: codeOf(error.cause) })
  }
}

async function checkXet(
  report: Report,
  { way, endpoint, kind, repo }: Subject,
  token: string | undefined,
  sample: Sample,
  { headers }: Seen,
): Promise<void> {
  const isOffered = headers['x-xet-hash'] !== undefined && /xet-auth/.test(headers['link'] ?? '')
  if (!isOffered && !sample.hasXetHash) {
    report.found('xet-none')
    return
  }
  try {
    const asked = await follow(way, below(endpoint, `/api/${kind}/${repo}/xet-read-token/main`), { token })
    const cas = field(json(asked), 'casUrl')
    if (asked.status !== 200 || typeof cas !== 'string' || !URL.canParse(cas)) {
      report.found('xet-broken', { problem: `xet-read-token is answered with ${asked.status}` })
      return
    }
    const url = new URL(cas)
    if (url.host === endpoint.host) {
      report.found('xet-here')
      return
    }
    const { host, port } = addressOf(url)
    const error =
      way.proxyOf(url) === undefined ? await touch(host, port).then(() => undefined, codeOf) : undefined
    if (error === undefined) report.found('xet-away', { target: url.host })
    else report.found('xet-broken', { problem: `${url.host} is not reachable (${error})` })
  } catch (error) {
    if (!(error instanceof ElsewhereFailed)) throw error
    report.found('xet-broken', { problem: `${error.target.host} does not answer (${codeOf(error.cause)})` })
  }
}

/** Fills links. `link` is the Link header of a listing of the repo, if it has further pages. */
export async function checkLinks(
  report: Report,
  { way, endpoint }: Subject,
  link: string | undefined,
): Promise<void> {
  const seen = link === undefined ? await ask(way, below(endpoint, '/api/models?limit=1')) : undefined
  const next = /<([^>]*)>\s*;\s*rel="?next/i.exec(link ?? seen?.headers['link'] ?? '')?.[1]
  if (next === undefined || !URL.canParse(next, endpoint.href)) {
    report.skip(['links'], 'none')
    return
  }
  const base = endpoint.href.replace(/\/+$/, '')
  const target = new URL(next, endpoint).href
  if (target.startsWith(`${base}/`)) report.found('links-ok')
  else report.found('links-away', { target: new URL(target).host })
}
