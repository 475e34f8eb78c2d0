// File routes of the Hub: resolve, raw, and the pinned resolve-cache, with the four kinds of answer that real
// servers give. Knows nothing of JSON or of where LFS bytes are.

import {
  type Caller,
  callerOf,
  entryNotFound,
  judgeFiles,
  judgeMetadata,
  revisionNotFound,
} from './access.ts'
import { fromBytes } from './content.ts'
import type { Exchange, HeaderMap } from './exchange.ts'
import { contentDisposition, describeFile, sendFile } from './file-answer.ts'
import { encodePath, type HubState, redirect, refuse, sendJson, webPath } from './hub.ts'
import type { Commit, FileEntry, Found, RepoType } from './repos.ts'
import { signUrl } from './signed-urls.ts'

/** A file as a URL names it. `rawTail` is `{marker}/{rev}/{path}` as on the wire. */
export interface FileTarget {
  readonly type: RepoType
  readonly id: string
  readonly marker: 'resolve' | 'raw'
  readonly revision: string
  readonly path: string
  readonly rawTail: string
}

interface Resolved {
  readonly found: Found
  readonly caller: Caller
  readonly commit: Commit
  readonly file: FileEntry
}

const XET_FILEINFO = 'application/vnd.xet-fileinfo+json'
const COMMIT_PATTERN = /^[0-9a-f]{40}$/

/** Answers /resolve/ and /raw/: 307 to the pinned route, 302 to the CDN, or the bytes themselves. */
export async function answerFile(hub: HubState, exchange: Exchange, target: FileTarget): Promise<void> {
  const found = hub.world.find(target.type, target.id)
  if (found?.how === 'renamed') {
    const refusal = judgeMetadata(hub.world, callerOf(hub.world, exchange.request.headers), found)
    if (refusal !== undefined) return refuse(exchange, refusal)
    const query = exchange.rawQuery === '' ? '' : `?${exchange.rawQuery}`
    return redirect(exchange, 307, `/${webPath(found.repo)}/${target.rawTail}${query}`)
  }
  const resolved = await resolve(hub, exchange, found, target.revision, target.path)
  if (resolved === undefined) return
  const { file, commit } = resolved
  if (target.marker === 'raw') {
    const content = file.lfs === undefined ? file.content : fromBytes(file.lfs.pointer)
    return sendDirect(exchange, resolved, content, { revalidates: false })
  }
  if (file.lfs !== undefined) return sendLfs(hub, exchange, resolved)
  const { repo } = resolved.found
  const isPinnable = !repo.isPrivate && repo.gate === false && target.id.includes('/')
  if (!isPinnable || file.content.sizeBytes === 0) return sendDirect(exchange, resolved, file.content)
  const key = encodeURIComponent(`/${webPath(repo)}/resolve/${target.revision}/${file.path}`)
  const location = `/api/resolve-cache/${repo.type}/${repo.id}/${commit.id}/${encodePath(file.path)}?${key}=&etag=%22${file.oid}%22`
  await redirect(exchange, 307, location, { 'X-Repo-Commit': commit.id, 'Accept-Ranges': 'bytes' })
}

/** Answers /api/resolve-cache/{T}/{ns}/{name}/{sha}/{path}. The query is a cache key and may be absent. */
export async function answerResolveCache(
  hub: HubState,
  exchange: Exchange,
  target: Pick<FileTarget, 'type' | 'id' | 'revision' | 'path'>,
): Promise<void> {
  if (!COMMIT_PATTERN.test(target.revision)) {
    return refuse(exchange, { status: 400, message: 'Invalid commit hash' })
  }
  const found = hub.world.find(target.type, target.id)
  const resolved = await resolve(hub, exchange, found, target.revision, target.path)
  if (resolved === undefined) return
  if (resolved.file.lfs !== undefined) return sendLfs(hub, exchange, resolved)
  await sendDirect(exchange, resolved, resolved.file.content, { clearsCookie: false })
}

/** The signed CDN URL of an LFS file, as this request would get it. */
export function cdnLocation(
  hub: HubState,
  exchange: Exchange,
  objectPath: string,
  options: { readonly method: string; readonly uid: string; readonly fileName: string },
): string {
  const seconds = exchange.damage.expireSignedUrls ? -1 : hub.signedUrlSeconds
  return signUrl({
    cdnUrl: hub.cdnUrl,
    secret: hub.secret,
    path: objectPath,
    expiresAtSeconds: Math.floor(Date.now() / 1000) + seconds,
    ...options,
  })
}

async function resolve(
  hub: HubState,
  exchange: Exchange,
  found: Found | undefined,
  revision: string,
  path: string,
): Promise<Resolved | undefined> {
  const caller = callerOf(hub.world, exchange.request.headers)
  const refusal = judgeFiles(hub.world, caller, found, path)
  if (refusal !== undefined || found === undefined) {
    if (refusal !== undefined) await refuse(exchange, refusal)
    return undefined
  }
  const commit = found.repo.resolve(revision)
  if (commit === undefined) {
    await refuse(exchange, revisionNotFound(revision))
    return undefined
  }
  const file = commit.files.get(path)
  if (file === undefined) {
    await refuse(exchange, entryNotFound(commit.id))
    return undefined
  }
  return { found, caller, commit, file }
}

async function sendDirect(
  exchange: Exchange,
  { commit, file }: Resolved,
  content: FileEntry['content'],
  options: { readonly revalidates?: boolean; readonly clearsCookie?: boolean } = {},
): Promise<void> {
  const { contentType, isText } = describeFile(file.path)
  const isDownload = exchange.query.get('download') === 'true'
  const headers: HeaderMap = {
    'Content-Type': file.lfs === undefined ? contentType : 'text/plain; charset=utf-8',
    'X-Repo-Commit': commit.id,
    'Content-Security-Policy': "default-src 'none'; sandbox",
  }
  if (!exchange.query.has('noContentDisposition')) {
    headers['Content-Disposition'] = contentDisposition(file.path, isDownload ? 'attachment' : 'inline')
  }
  // Seen on direct answers only; a mirror that stores it logs its users out.
  if (options.clearsCookie !== false && !exchange.isHead) headers['Set-Cookie'] = 'token=; Path=/; Max-Age=0'
  await sendFile(exchange, {
    content,
    etag: `"${file.oid}"`,
    headers,
    mayGzip: isText,
    revalidates: options.revalidates ?? true,
  })
}

async function sendLfs(hub: HubState, exchange: Exchange, resolved: Resolved): Promise<void> {
  const { file, commit, caller } = resolved
  const { repo } = resolved.found
  if (file.lfs === undefined) return
  const { sha256, xetHash } = file.lfs
  const refreshUrl = `${hub.url}/api/${repo.type}/${repo.id}/xet-read-token/${commit.id}`
  const reconstructionUrl = `https://cas.invalid/v1/reconstructions/${xetHash}`
  const headers: HeaderMap = {
    'X-Repo-Commit': commit.id,
    'X-Linked-Size': file.content.sizeBytes,
    'X-Linked-ETag': `"${sha256}"`,
    'Accept-Ranges': 'bytes',
  }
  if (hub.xet) {
    headers['X-Xet-Hash'] = xetHash
    headers['Link'] = `<${refreshUrl}>; rel="xet-auth", <${reconstructionUrl}>; rel="xet-reconstruction-info"`
  }
  const known = exchange.header('if-none-match')
  if (known !== undefined && known.replace(/^W\//, '') === `"${sha256}"`) {
    return exchange.send({ status: 304, headers: { ...headers, ETag: `"${sha256}"` } })
  }
  if (hub.xet && exchange.header('accept')?.includes(XET_FILEINFO)) {
    const info = {
      hash: xetHash,
      refreshUrl,
      reconstructionUrl,
      etag: `"${sha256}"`,
      size: file.content.sizeBytes,
    }
    return sendJson(exchange, info, { headers: { ...headers, 'Content-Type': XET_FILEINFO } })
  }
  const location = cdnLocation(hub, exchange, `/xet-bridge-us/${repo.objectId}/${xetHash}`, {
    method: exchange.method,
    uid: caller.kind === 'user' ? caller.name : 'public',
    fileName: file.path,
  })
  await redirect(exchange, 302, location, headers)
}
