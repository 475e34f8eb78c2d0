// The Git LFS API of a repo: batch for download and upload, and verify. Bytes go to and come from the CDN by
// absolute, signed hrefs (git-lfs: docs/api/batch.md). Knows nothing of commits.

import { callerOf, judgeFiles, judgeWrite } from './access.ts'
import type { Exchange } from './exchange.ts'
import { type HubState, refuse, webPath } from './hub.ts'
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
  const objects = body.objects.map((object) =>
    isUpload
      ? uploadOf(hub, exchange, found.repo, object, uid)
      : downloadOf(hub, exchange, found.repo, object, uid),
  )
  await sendLfsJson(exchange, 200, { transfer: 'basic', objects, hash_algo: 'sha256' })
}

function uploadOf(hub: HubState, exchange: Exchange, repo: Repo, object: LfsObject, uid: string): unknown {
  // No actions: the object is here already.
  if (hub.world.lfsObjects.has(object.oid)) return { ...object, authenticated: true }
  const href = cdnLocation(hub, exchange, `/lfs-uploads/${repo.objectId}/${object.oid}`, {
    method: 'PUT',
    uid,
    fileName: object.oid,
  })
  const verify = `${hub.url}/${webPath(repo)}.git/info/lfs/objects/verify`
  return {
    ...object,
    authenticated: true,
    actions: { upload: { href, header: {} }, verify: { href: verify, header: {} } },
  }
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

function parseBatch(
  body: string,
):
  | { readonly operation: unknown; readonly objects: readonly LfsObject[]; readonly oid?: string }
  | undefined {
  try {
    const parsed = JSON.parse(body) as { operation?: unknown; objects?: unknown; oid?: unknown }
    const objects = Array.isArray(parsed.objects) ? (parsed.objects as readonly LfsObject[]) : []
    return {
      operation: parsed.operation,
      objects,
      ...(typeof parsed.oid === 'string' ? { oid: parsed.oid } : {}),
    }
  } catch {
    return undefined
  }
}

async function sendLfsJson(exchange: Exchange, status: number, value: unknown): Promise<void> {
  await exchange.send({ status, headers: { 'Content-Type': LFS_JSON }, body: JSON.stringify(value) })
}
