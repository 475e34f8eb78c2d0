// The Git LFS API of a repo: batch for download and upload, and verify. Bytes go to and come from the CDN by
// absolute, signed hrefs (git-lfs: docs/api/batch.md). Knows nothing of commits.

import { createHash } from 'node:crypto'
import { callerOf, judgeFiles, judgeWrite } from './access.ts'
import { fromBytes } from './content.ts'
import type { Exchange } from './exchange.ts'
import { type HubState, refuse, sendJson, webPath } from './hub.ts'
import type { Repo, RepoType } from './repos.ts'
import { cdnLocation } from './resolve.ts'

interface LfsObject {
  readonly oid: string
  readonly size: number
}

const LFS_JSON = 'application/vnd.git-lfs+json'

/** Answers /{P}{id}.git/info/lfs/objects/{batch|verify}. */
export async function answerLfs(
  hub: HubState,
  exchange: Exchange,
  target: { readonly type: RepoType; readonly id: string; readonly action: string },
): Promise<void> {
  const found = hub.world.find(target.type, target.id)
  const caller = callerOf(hub.world, exchange.request.headers)
  const body = parseBatch((await exchange.readBody()).toString())
  const isUpload = target.action === 'verify' || body?.operation === 'upload'
  const refusal = (isUpload ? judgeWrite : judgeFiles)(hub.world, caller, found)
  if (refusal !== undefined) return refuse(exchange, refusal)
  if (found === undefined || body === undefined || exchange.method !== 'POST') {
    return sendLfsJson(exchange, 422, { message: 'Invalid request' })
  }
  if (target.action === 'verify') {
    const isThere = hub.world.lfsObjects.has(body.oid ?? '')
    return sendLfsJson(exchange, isThere ? 200 : 404, isThere ? {} : { message: 'Object does not exist' })
  }
  const uid = caller.kind === 'user' ? caller.name : 'public'
  const transfer = transferOf(hub, body.transfers, isUpload)
  const objects = body.objects.map((object) =>
    isUpload
      ? uploadOf(hub, exchange, found.repo, object, { uid, transfer })
      : downloadOf(hub, exchange, found.repo, object, uid),
  )
  await sendLfsJson(exchange, 200, { transfer, objects, hash_algo: 'sha256' })
}

/**
 * Answers /{P}{id}.git/info/lfs/locks and all below it. The Hub has no locks: to one who may use the repo it says 404, by which
 * git-lfs knows that the server does not support them.
 */
export async function answerLocks(
  hub: HubState,
  exchange: Exchange,
  { type, id }: { readonly type: RepoType; readonly id: string },
): Promise<void> {
  await exchange.readBody()
  const caller = callerOf(hub.world, exchange.request.headers)
  const refusal = judgeFiles(hub.world, caller, hub.world.find(type, id))
  if (refusal !== undefined) return refuse(exchange, refusal)
  await sendLfsJson(exchange, 404, { message: 'Not Found' })
}

type Transfer = 'basic' | 'multipart' | 'xet'

/** The Hub takes the newest way that the client knows. Without a word of the client it is `basic`. */
function transferOf(hub: HubState, offered: readonly unknown[], isUpload: boolean): Transfer {
  if (hub.xet && isUpload && offered.includes('xet')) return 'xet'
  return isUpload && offered.includes('multipart') ? 'multipart' : 'basic'
}

function uploadOf(
  hub: HubState,
  exchange: Exchange,
  repo: Repo,
  object: LfsObject,
  { uid, transfer }: { readonly uid: string; readonly transfer: Transfer },
): unknown {
  // No actions: the object is here already.
  if (hub.world.lfsObjects.has(object.oid)) return { ...object, authenticated: true }
  if (transfer === 'xet') {
    const href = `${hub.url}/api/${repo.type}/${repo.id}/xet-write-token/main`
    const header = { 'X-Xet-Cas-Url': 'https://cas.invalid', 'X-Xet-Access-Token': 'none' }
    return { ...object, authenticated: true, actions: { upload: { href, header } } }
  }
  if (transfer === 'multipart' && object.size > hub.partBytes)
    return partsOf(hub, exchange, repo, object, uid)
  const href = cdnLocation(hub, exchange, `/lfs-uploads/${repo.objectId}/${object.oid}`, {
    method: 'PUT',
    uid,
    fileName: object.oid,
  })
  return {
    ...object,
    authenticated: true,
    actions: { upload: { href, header: {} }, verify: verifyOf(hub, exchange, repo) },
  }
}

function partsOf(hub: HubState, exchange: Exchange, repo: Repo, object: LfsObject, uid: string): unknown {
  const header: Record<string, string> = { chunk_size: String(hub.partBytes) }
  for (let part = 1; (part - 1) * hub.partBytes < object.size; part += 1) {
    const path = `/lfs-parts/${object.oid}/${part}`
    header[String(part).padStart(5, '0')] = cdnLocation(hub, exchange, path, {
      method: 'PUT',
      uid,
      fileName: object.oid,
    })
  }
  const href = `${hub.url}/api/complete_multipart?uploadId=${object.oid}`
  return {
    ...object,
    authenticated: true,
    actions: { upload: { href, header }, verify: verifyOf(hub, exchange, repo) },
  }
}

/**
 * Git LFS sends no credential of its own for an object that is called authenticated. So a client that came with Basic, as
 * git-lfs does, gets the field back.
 */
function verifyOf(hub: HubState, exchange: Exchange, repo: Repo): unknown {
  const field = exchange.header('authorization')
  const header = field !== undefined && /^basic /i.test(field) ? { Authorization: field } : {}
  return { href: `${hub.url}/${webPath(repo)}.git/info/lfs/objects/verify`, header }
}

/** POST /api/complete_multipart: the parts become the object. Its address is all the right that is asked for. */
export async function answerMultipartEnd(hub: HubState, exchange: Exchange): Promise<void> {
  const body = JSON.parse((await exchange.readBody()).toString()) as {
    readonly oid?: string
    readonly parts?: readonly { readonly partNumber: number; readonly etag: string }[]
  }
  const oid = exchange.query.get('uploadId') ?? ''
  const parts = (body.parts ?? []).map(({ partNumber, etag }) => {
    const bytes = hub.parts.get(`/lfs-parts/${oid}/${partNumber}`)
    const isRight = bytes !== undefined && etag === `"${createHash('md5').update(bytes).digest('hex')}"`
    return isRight ? bytes : undefined
  })
  const known = parts.filter((part) => part !== undefined)
  const content = fromBytes(Buffer.concat(known))
  if (body.oid !== oid || known.length !== parts.length || content.sha256() !== oid)
    return refuse(exchange, { status: 400, message: 'The parts are not the object' })
  hub.world.lfsObjects.set(oid, content)
  await sendJson(exchange, { success: true })
}

function downloadOf(hub: HubState, exchange: Exchange, repo: Repo, object: LfsObject, uid: string): unknown {
  const file = [...repo.commits.values()]
    .flatMap((commit) => [...commit.files.values()])
    .find(({ lfs }) => lfs?.sha256 === object.oid)
  if (file?.lfs === undefined) return { ...object, error: { code: 404, message: 'Object does not exist' } }
  const href = cdnLocation(hub, exchange, `/xet-bridge-us/${repo.objectId}/${file.lfs.xetHash}`, {
    method: 'GET',
    uid,
    fileName: file.path,
  })
  return { ...object, authenticated: true, actions: { download: { href, expires_in: hub.signedUrlSeconds } } }
}

function parseBatch(body: string):
  | {
      readonly operation: unknown
      readonly objects: readonly LfsObject[]
      readonly transfers: readonly unknown[]
      readonly oid?: string
    }
  | undefined {
  try {
    const parsed = JSON.parse(body) as {
      operation?: unknown
      objects?: unknown
      transfers?: unknown
      oid?: unknown
    }
    const objects = Array.isArray(parsed.objects) ? (parsed.objects as readonly LfsObject[]) : []
    return {
      operation: parsed.operation,
      objects,
      transfers: Array.isArray(parsed.transfers) ? (parsed.transfers as readonly unknown[]) : [],
      ...(typeof parsed.oid === 'string' ? { oid: parsed.oid } : {}),
    }
  } catch {
    return undefined
  }
}

async function sendLfsJson(exchange: Exchange, status: number, value: unknown): Promise<void> {
  await exchange.send({ status, headers: { 'Content-Type': LFS_JSON }, body: JSON.stringify(value) })
}
