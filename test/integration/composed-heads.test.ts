// HEADs that the mirror composes from a listing have the fields that the Hub itself sends, over every file of every repo of the
// simulated Hub.

import { expect, it } from 'vitest'
import { ask, type Reply } from '../support/ask.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene } from '../support/scene.ts'
import { snapshotWorld } from '../support/snapshot.ts'

const KINDS = ['a.json', 'b.md', 'c.csv', 'd.html', 'e.py', 'f.yml', 'g', 'h.bin', 'i.TXT', 'sub/j.jsonl']
/** Of the request or the connection, and not of the file. */
const UNLIKE = ['date', 'x-request-id', 'x-cache', 'cache-status', 'age', 'connection', 'keep-alive']

const fieldsOf = (reply: Reply) =>
  Object.fromEntries(Object.entries(reply.headers).filter(([name]) => !UNLIKE.includes(name)))

/** RFC 8187 encodes parentheses, which the Hub leaves as they are. Clients read the same name. */
const named = (disposition: string | undefined) =>
  disposition?.replace(/(?<=filename\*=UTF-8'')[^;]*/, (name) => decodeURIComponent(name))

const bare = (etag: string | undefined) => etag?.replace(/^W\//, '')

/**
 * What a client reads of the Hub's own answers to a HEAD: of the first, and of the one to which a redirect leads. The ETag of a file
 * of Git LFS is X-Linked-ETag: that of the CDN is of another kind.
 */
async function hubFields(hub: string, target: string, token: string | undefined) {
  const first = await ask(hub, target, { method: 'HEAD', token })
  const { location } = first.headers
  const url = location === undefined ? undefined : new URL(location, hub)
  const isOwn = url === undefined || url.origin === new URL(hub).origin
  // No credential goes to another host.
  const last =
    url === undefined
      ? first
      : await ask(url.origin, url.pathname + url.search, {
          method: isOwn ? 'HEAD' : 'GET',
          token: isOwn ? token : undefined,
        })
  const linked = first.headers['x-linked-etag']
  return {
    status: last.status,
    etag: bare(linked ?? last.headers['etag']),
    linkedEtag: linked,
    commit: first.headers['x-repo-commit'],
    length: first.headers['x-linked-size'] ?? last.headers['content-length'],
    acceptRanges: last.headers['accept-ranges'],
    // The CDN says octet-stream of everything, whatever the Hub calls it.
    contentType: isOwn ? last.headers['content-type'] : 'application/octet-stream',
    disposition: named(last.headers['content-disposition']),
  }
}

it('a composed HEAD says what the Hub says, for every file of every repo', async () => {
  const world = snapshotWorld(5)
  const files = Object.fromEntries(KINDS.map((name) => [name, `content of ${name}\n`]))
  world.model('acme/kinds').commit({ ...files, '.gitattributes': '* text\n' })
  for (const id of ['acme/secret', 'acme/gated']) world.model(id).commit({ ...files, 'empty.txt': '' })
  const scene = await openScene({ world })
  const other = await scene.another({ config: { accessTtlMs: 0 } })
  const compared = { open: 0, private: 0, gated: 0 }
  for (const type of ['models', 'datasets', 'spaces'] as const) {
    for (const repo of world.list(type)) {
      const commit = repo.resolve('main')
      if (commit === undefined) continue
      const kind = repo.isPrivate ? 'private' : repo.gate === false ? 'open' : 'gated'
      const token = kind === 'open' ? undefined : TOKENS.alice
      const base = `${type === 'models' ? '' : `/${type}`}/${repo.id}/resolve/${commit.id}`
      const targets = [...commit.files.keys()].map(
        (path) => `${base}/${path.split('/').map(encodeURIComponent).join('/')}`,
      )
      await scene.ask(`/api/${type}/${repo.id}/revision/main`, { token })
      await scene.ask(`/api/${type}/${repo.id}/tree/${commit.id}?recursive=true&expand=false`, { token })
      // The Hub must have shown Alice a file behind the gate.
      const proof = targets.find((target) => target.endsWith('config.json'))
      if (kind !== 'open') await scene.ask(proof ?? '', { method: 'HEAD', token })
      for (const target of targets) {
        if (kind !== 'open' && target === proof) continue
        const asked = await ask(other.url, target, { method: 'HEAD', token })
        const hub = await hubFields(scene.hub.url, target, token)
        scene.hub.ledger.clear()
        const composed = await scene.ask(target, { method: 'HEAD', token })
        expect([target, scene.hub.ledger.requests().map(({ url }) => url)]).toEqual([target, []])
        const { headers } = composed
        expect([target, fieldsOf(composed)]).toEqual([target, fieldsOf(asked)])
        expect([target, headers['location'], headers['x-linked-size']]).toEqual([
          target,
          undefined,
          hub.length,
        ])
        const own = {
          status: composed.status,
          etag: headers['etag'],
          linkedEtag: headers['x-linked-etag'],
          commit: headers['x-repo-commit'],
          length: headers['content-length'],
          acceptRanges: headers['accept-ranges'],
          contentType: headers['content-type'],
          disposition: named(headers['content-disposition']),
        }
        expect([target, own]).toEqual([target, hub])
        compared[kind] += 1
      }
    }
  }
  expect(compared.open).toBeGreaterThan(30)
  expect(Math.min(compared.private, compared.gated)).toBeGreaterThan(10)
})
