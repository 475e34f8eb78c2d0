// Whether the Hub shows a repo to everybody, asked as a stranger. By the repo's own info: a file that a stranger may
// have proves nothing, since of a gated repo everybody may read the README. It does not remember the answer.

import { type HeaderBag, headerValue } from '../http/headers.ts'
import { apiSegment, type Repo } from '../hub/names.ts'
import { deniesRepo, readRefusal } from '../hub/refusal.ts'
import type { Asker, OriginAnswer, OriginClient } from './client.ts'
import { followRedirect, MAX_HOPS, mayCarryCredential } from './redirect.ts'

/** The info of a space cannot be asked for in part; more than any has. */
const MAX_INFO_BYTES = 16 * 1024 * 1024
/** From an origin that knows no such question; out of quota or in trouble it would say otherwise. */
const NO_SUCH_ROUTE: ReadonlySet<number> = new Set([404, 405, 501])

/**
 * What an origin says of a repo. `unsaid`: it has no such info, as other kinds of mirror; undefined: it did not answer
 * the question this time, so that nothing follows from it.
 */
export type Openness = boolean | 'unsaid' | undefined

/**
 * True when the Hub calls the repo neither private nor gated nor disabled, false when it calls it one of these or
 * refuses a stranger. Throws MirrorError when the origin is away.
 */
export async function isOpenToAll(
  client: OriginClient,
  repo: Repo,
  stranger: Asker & { readonly authorization: undefined },
): Promise<Openness> {
  let url = client.url(infoTarget(repo))
  for (let hop = 0; hop <= MAX_HOPS; hop += 1) {
    const answer = await client.send({ kind: 'access', method: 'GET', url, asker: stranger })
    const location = headerValue(answer.headers, 'location')
    if (answer.status >= 300 && answer.status < 400 && location !== undefined) {
      // A renamed repo, or an id of one segment.
      await answer.body.dump()
      url = followRedirect(client.policy, url, location)
      if (!mayCarryCredential(client.policy, url)) return undefined
      continue
    }
    const body = await bounded(answer)
    if (answer.status >= 400) {
      if (deniesRepo(refusalOf(answer, body))) return false
      return NO_SUCH_ROUTE.has(answer.status) ? 'unsaid' : undefined
    }
    return answer.status === 200 && body !== undefined ? readOpenness(body) : undefined
  }
  return undefined
}

/** What the info of a repo says; undefined when it is no info at all. */
export function readOpenness(info: Buffer): Openness {
  let value: unknown
  try {
    value = JSON.parse(info.toString('utf8'))
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { private: closed, gated, disabled } = value as Record<string, unknown>
  if (closed === true || disabled === true) return false
  if (gated !== undefined && gated !== false) return false
  // Spaces have no gate, and say nothing of one.
  return closed === false ? true : 'unsaid'
}

/** Only the fields that matter, where the Hub knows them all: the whole info of a repo with many files is large. */
function infoTarget(repo: Repo): string {
  const target = `/api/${apiSegment(repo.type)}/${repo.id}`
  const hasGate = repo.type === 'model' || repo.type === 'dataset'
  return hasGate ? `${target}?expand=private&expand=gated&expand=disabled` : target
}

function refusalOf(
  answer: { readonly status: number; readonly headers: HeaderBag },
  body: Buffer | undefined,
) {
  return readRefusal(answer.status, answer.headers, body ?? Buffer.alloc(0))
}

async function bounded(answer: OriginAnswer): Promise<Buffer | undefined> {
  const parts: Buffer[] = []
  let size = 0
  for await (const part of answer.body) {
    const chunk = part as Buffer
    size += chunk.length
    if (size > MAX_INFO_BYTES) {
      answer.body.destroy()
      return undefined
    }
    parts.push(chunk)
  }
  return Buffer.concat(parts)
}
