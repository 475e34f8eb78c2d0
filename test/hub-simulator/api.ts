// /api: finds the repo a URL means, redirects old names, judges access, and hands over to the route.
// Knows the shape of URLs, not the shape of answers.

import { type Caller, callerOf, judgeFiles, judgeMetadata, judgeWrite, type Refusal } from './access.ts'
import type { Exchange } from './exchange.ts'
import { type HubState, isRepoType, notFound, type RepoRequest, redirect, refuse, sendJson } from './hub.ts'
import { answerMultipartEnd } from './lfs-batch.ts'
import { answerGeneral, answerList, SPACE_LISTS } from './listings.ts'
import {
  answerCommits,
  answerInfo,
  answerPathsInfo,
  answerRefs,
  answerTree,
  answerTreeSize,
} from './metadata.ts'
import { answerParquet } from './parquet.ts'
import type { Found, Repo, RepoType } from './repos.ts'
import { answerResolveCache } from './resolve.ts'
import { answerRepoManagement, answerRepoWrite, REPO_ACTIONS } from './writes.ts'

/** A repo route taken apart: `action` and `rest` are what follows the id. */
interface RepoTarget {
  readonly type: RepoType
  readonly id: string
  readonly action: string | undefined
  readonly rest: readonly string[]
}

const ACTIONS = new Set([
  'revision',
  'tree',
  'treesize',
  'paths-info',
  'refs',
  'commits',
  'auth-check',
  'xet-read-token',
  'xet-write-token',
  'parquet',
  'croissant',
  'safetensors-metadata',
  'preupload',
  'commit',
  'branch',
  'tag',
  'settings',
  ...REPO_ACTIONS,
])
const WRITES = new Set([
  'preupload',
  'commit',
  'branch',
  'tag',
  'settings',
  'xet-write-token',
  ...REPO_ACTIONS,
])
const XET_TOKEN_SECONDS = 900

/** Answers everything under /api/; `segments` come after `api`. */
export async function answerApi(
  hub: HubState,
  exchange: Exchange,
  segments: readonly string[],
): Promise<void> {
  const [first, ...rest] = segments
  if (first === 'resolve-cache') return answerPinned(hub, exchange, rest)
  if (first === 'complete_multipart') return answerMultipartEnd(hub, exchange)
  if (first === 'repos') return answerRepoManagement(hub, exchange, rest[0] ?? '')
  if (isRepoType(first)) {
    if (rest.length === 0) return answerList(hub, exchange, first)
    const isSpaceList = first === 'spaces' && rest.length === 1 && SPACE_LISTS.has(rest[0] ?? '')
    if (isSpaceList && (await answerGeneral(hub, exchange, segments))) return
    return answerRepo(hub, exchange, repoTarget(hub, first, rest))
  }
  if (await answerGeneral(hub, exchange, segments)) return
  await notFound(exchange)
}

async function answerPinned(hub: HubState, exchange: Exchange, segments: readonly string[]): Promise<void> {
  const [type, namespace, name, revision, ...path] = segments
  if (!isRepoType(type) || type === 'kernels' || revision === undefined || path.length === 0)
    return notFound(exchange)
  await answerResolveCache(hub, exchange, {
    type,
    id: `${namespace}/${name}`,
    revision,
    path: path.join('/'),
  })
}

function repoTarget(hub: HubState, type: RepoType, segments: readonly string[]): RepoTarget {
  const [first = '', second, ...rest] = segments
  const isLegacy =
    second === undefined || (ACTIONS.has(second) && hub.world.find(type, `${first}/${second}`) === undefined)
  if (isLegacy) return { type, id: first, action: second, rest }
  return { type, id: `${first}/${second}`, action: rest[0], rest: rest.slice(1) }
}

async function answerRepo(hub: HubState, exchange: Exchange, target: RepoTarget): Promise<void> {
  const found = hub.world.find(target.type, target.id)
  const caller = callerOf(hub.world, exchange.request.headers)
  if (found !== undefined && found.how !== 'exact') {
    const refusal = judgeMetadata(hub.world, caller, found)
    return refusal === undefined ? redirectToRepo(exchange, target, found) : refuse(exchange, refusal)
  }
  const refusal = judge(hub, caller, found, target)
  if (refusal !== undefined) return refuse(exchange, refusal)
  if (found === undefined) return notFound(exchange)
  const request: RepoRequest = { repo: found.repo, caller, action: target.action, rest: target.rest }
  if (target.action !== undefined && WRITES.has(target.action) && target.action !== 'xet-write-token') {
    return answerRepoWrite(hub, exchange, request)
  }
  await answerRead(hub, exchange, request)
}

function judge(
  hub: HubState,
  caller: Caller,
  found: Found | undefined,
  target: RepoTarget,
): Refusal | undefined {
  const { action, rest } = target
  const isWrite =
    action !== undefined && (WRITES.has(action) || (action === 'auth-check' && rest[0] === 'write'))
  if (isWrite) return judgeWrite(hub.world, caller, found)
  const isAboutFiles = action === 'xet-read-token' || action === 'auth-check'
  return (isAboutFiles ? judgeFiles : judgeMetadata)(hub.world, caller, found)
}

// The raw rest of the path is kept: its encoded slashes belong to segments.
async function redirectToRepo(exchange: Exchange, target: RepoTarget, found: Found): Promise<void> {
  const kept = exchange.rawPath.split('/').slice(3 + target.id.split('/').length)
  const path = ['', 'api', target.type, found.repo.id, ...kept].join('/')
  await redirect(exchange, 307, exchange.rawQuery === '' ? path : `${path}?${exchange.rawQuery}`)
}

async function answerRead(hub: HubState, exchange: Exchange, request: RepoRequest): Promise<void> {
  const { repo, caller, action, rest } = request
  const [revision, ...below] = rest
  const path = below.join('/').replace(/\/$/, '')
  const isPost = exchange.method === 'POST'
  if (action === 'paths-info' && revision !== undefined && isPost) {
    return answerPathsInfo(hub, exchange, { repo, caller, revision })
  }
  if (isPost || (exchange.method !== 'GET' && exchange.method !== 'HEAD')) return notFound(exchange)
  if (action === undefined) return answerInfo(hub, exchange, repo, undefined)
  if (action === 'auth-check') return exchange.send({ status: 200 })
  if (action === 'refs') return answerRefs(exchange, repo)
  if (action === 'croissant' && repo.type === 'datasets')
    return sendJson(exchange, { '@type': 'sc:Dataset', name: repo.id, url: `${hub.url}/datasets/${repo.id}` })
  if (action === 'safetensors-metadata' && repo.type === 'models' && rest.length > 0)
    return sendJson(exchange, { index: { metadata: { total_size: 1 } }, headers: { 'w.safetensors': {} } })
  if (action === 'parquet' && repo.type === 'datasets') return answerParquet(hub, exchange, repo, rest)
  if (revision === undefined) return notFound(exchange)
  if (action === 'revision') return answerInfo(hub, exchange, repo, revision)
  if (action === 'tree') return answerTree(hub, exchange, { repo, caller, revision, path })
  if (action === 'treesize') return answerTreeSize(exchange, repo, revision, path)
  if (action === 'commits') return answerCommits(hub, exchange, repo, revision)
  if (action === 'xet-read-token' || action === 'xet-write-token')
    return answerXetToken(hub, exchange, repo, action)
  await notFound(exchange)
}

// Both forms are read by some client. The CAS host cannot exist, so that any use of it shows at once.
async function answerXetToken(hub: HubState, exchange: Exchange, repo: Repo, action: string): Promise<void> {
  if (!hub.xet) return notFound(exchange)
  const casUrl = 'https://cas.invalid'
  const exp = Math.floor(Date.now() / 1000) + XET_TOKEN_SECONDS
  const accessToken = Buffer.from(`${action} ${repo.objectId}`).toString('base64url')
  await sendJson(
    exchange,
    { casUrl, exp, accessToken },
    {
      headers: {
        'X-Xet-Cas-Url': casUrl,
        'X-Xet-Access-Token': accessToken,
        'X-Xet-Token-Expiration': exp,
      },
    },
  )
}
