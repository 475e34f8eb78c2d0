// The Hub server's front door: takes a raw URL apart and picks API, file, LFS or page. Segments are split before
// they are decoded, once: an encoded slash belongs to its segment. Knows no answer but 400 and pages.

import { callerOf, judgeMetadata } from './access.ts'
import { answerApi } from './api.ts'
import type { Exchange } from './exchange.ts'
import { type HubState, isRepoType, refuse, sendHtml } from './hub.ts'
import { answerLfs, answerLocks } from './lfs-batch.ts'
import { answerRegistry } from './registry.ts'
import type { RepoType } from './repos.ts'
import { answerFile } from './resolve.ts'

const MARKERS = new Set(
  'resolve raw blob tree commit commits discussions info git-upload-pack git-receive-pack'.split(' '),
)
const GIT_SERVICES = new Set(['info/refs', 'git-upload-pack', 'git-receive-pack'])

/** Answers one request to the Hub server. */
export async function answerHub(hub: HubState, exchange: Exchange): Promise<void> {
  const { segments } = exchange
  if (segments === undefined || segments.some((segment) => segment.includes('\0'))) {
    return refuse(exchange, { status: 400, message: 'Invalid URL' })
  }
  const [first, ...rest] = segments
  if (first === 'api') return answerApi(hub, exchange, rest)
  if (first === 'v2') return answerRegistry(hub, exchange, rest)
  if (first === '' && rest.length === 0) return sendHtml(exchange, 200, 'The simulated Hub')
  const type: RepoType = isRepoType(first) && first !== 'models' ? first : 'models'
  const inRepo = type === 'models' ? segments : rest
  const idLength = markerIndex(hub, type, inRepo)
  const id = inRepo.slice(0, idLength).join('/')
  const [marker, revision, ...path] = inRepo.slice(idLength)
  if (id.endsWith('.git') && marker === 'info' && revision === 'lfs' && path[0] === 'objects') {
    return answerLfs(hub, exchange, { type, id: id.slice(0, -'.git'.length), action: path[1] ?? '' })
  }
  if (id.endsWith('.git') && marker === 'info' && revision === 'lfs' && path[0] === 'locks')
    return answerLocks(hub, exchange, { type, id: id.slice(0, -'.git'.length) })
  const service = inRepo.slice(idLength).join('/')
  if (GIT_SERVICES.has(service)) return hub.git.answer(hub, exchange, { type, id, service })
  const isRead = exchange.method === 'GET' || exchange.isHead
  if ((marker === 'resolve' || marker === 'raw') && revision !== undefined && path.length > 0 && isRead) {
    const rawTail = exchange.rawPath
      .split('/')
      .slice(1 + (type === 'models' ? 0 : 1) + idLength)
      .join('/')
    return answerFile(hub, exchange, { type, id, marker, revision, path: path.join('/'), rawTail })
  }
  await answerPage(hub, exchange, type, id)
}

// The id is one segment or two: what stands before the marker, which may itself be the name of a repo.
function markerIndex(hub: HubState, type: RepoType, segments: readonly string[]): number {
  const [first = '', second = '', third = ''] = segments
  if (!MARKERS.has(second)) return Math.min(2, segments.length)
  return MARKERS.has(third) && hub.world.find(type, `${first}/${second}`) !== undefined ? 2 : 1
}

async function answerPage(hub: HubState, exchange: Exchange, type: RepoType, id: string): Promise<void> {
  const found = hub.world.find(type, id)
  const caller = callerOf(hub.world, exchange.request.headers)
  const isKnown = found !== undefined && judgeMetadata(hub.world, caller, found) === undefined
  await sendHtml(exchange, isKnown ? 200 : 404, isKnown ? id : '404: not found')
}
