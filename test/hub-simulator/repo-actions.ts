// Writes that are about a repo as a whole: pull requests and their merging, a squashed history, a copy. The right to write
// was checked before.

import { type Caller, mayCreateIn, REFUSALS, revisionNotFound } from './access.ts'
import { type Content, readContent } from './content.ts'
import type { Exchange } from './exchange.ts'
import { type HubState, notFound, type RepoRequest, refuse, sendJson, webPath } from './hub.ts'
import type { Change, Repo } from './repos.ts'

type Json = Readonly<Record<string, unknown>>

/** POST /api/{T}/{id}/{discussions|super-squash|duplicate}… */
export async function answerRepoAction(
  hub: HubState,
  exchange: Exchange,
  { repo, caller, action, rest }: RepoRequest,
  body: Json,
): Promise<void> {
  if (exchange.method !== 'POST') return notFound(exchange)
  if (action === 'duplicate') return duplicate(hub, exchange, { repo, caller }, body)
  if (action === 'super-squash') return squash(exchange, repo, rest[0] ?? '')
  const [number, verb] = rest
  if (number === undefined) return open(exchange, repo, body)
  if (verb === 'merge') return merge(exchange, repo, number)
  const isKnown = verb === 'comment' || verb === 'status' || verb === 'title'
  return isKnown ? sendJson(exchange, { newStatus: 'open' }) : notFound(exchange)
}

async function open(exchange: Exchange, repo: Repo, body: Json): Promise<void> {
  const head = repo.resolve('main')
  const num = [...repo.refs.keys()].filter((ref) => ref.startsWith('refs/pr/')).length + 1
  if (body['pullRequest'] === true && head !== undefined) repo.ref(`refs/pr/${num}`, head.id)
  await sendJson(exchange, { num, pullRequest: body['pullRequest'] === true })
}

async function merge(exchange: Exchange, repo: Repo, number: string): Promise<void> {
  const proposed = repo.resolve(`refs/pr/${number}`)
  if (proposed === undefined) return refuse(exchange, revisionNotFound(`refs/pr/${number}`))
  repo.ref('refs/heads/main', proposed.id)
  await sendJson(exchange, { newStatus: 'merged' })
}

/** The branch becomes one commit without a parent. */
async function squash(exchange: Exchange, repo: Repo, branch: string): Promise<void> {
  const head = repo.resolve(branch)
  if (head === undefined) return refuse(exchange, revisionNotFound(branch))
  repo.refs.delete(`refs/heads/${branch}`)
  repo.commit(changesOf(head.files), { branch, message: 'squashed' })
  await sendJson(exchange, {})
}

async function duplicate(
  hub: HubState,
  exchange: Exchange,
  { repo, caller }: { readonly repo: Repo; readonly caller: Caller },
  body: Json,
): Promise<void> {
  const id = typeof body['repository'] === 'string' ? body['repository'] : ''
  if (!mayCreateIn(hub.world, caller, id.split('/')[0] ?? '')) return refuse(exchange, REFUSALS.noWriteRight)
  const copy = hub.world.repo(repo.type, id)
  copy.commit(changesOf(repo.resolve('main')?.files ?? new Map()))
  await sendJson(exchange, { url: `${hub.url}/${webPath(copy)}` })
}

function changesOf(
  files: ReadonlyMap<string, { readonly content: Content; readonly lfs?: unknown }>,
): Record<string, Change> {
  return Object.fromEntries(
    [...files].map(([path, { content, lfs }]) => [
      path,
      lfs === undefined ? readContent(content) : { lfs: content },
    ]),
  )
}
