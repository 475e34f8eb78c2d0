import { Readable } from 'node:stream'
import { describe, expect, it, vi } from 'vitest'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import type { DocumentFact } from '../../../src/mirror/metadata/documents.ts'
import type { FileFact } from '../../../src/mirror/metadata/files.ts'
import { Metadata } from '../../../src/mirror/metadata/metadata.ts'
import { decodeFact, encodeFact } from '../../../src/store/facts/fact-bytes.ts'
import type { Facts } from '../../../src/store/store.ts'
import { commit, repo } from '../hub/repo.ts'

const REPO = repo('org/name')
const TTL_MS = 1000
const FILE: FileFact = {
  kind: 'present',
  meta: { commit: commit('a'), etag: 'e'.repeat(40), sizeBytes: 5, lfs: false, contentType: 'text/plain' },
  key: `gitsha1:${'e'.repeat(40)}`,
}
const DOCUMENT: DocumentFact = {
  body: Buffer.from('{"a":1}'),
  contentType: 'application/json',
  link: '<https://hub.test/next>; rel="next"',
  headers: { 'x-total': '3' },
}

interface Scene {
  readonly metadata: Metadata
  readonly clock: { ms: number }
  /** The facts as the disk holds them, by kind and key. */
  readonly disk: Map<string, unknown>
  readonly writes: string[]
  readonly errors: unknown[]
  readonly restart: (origin?: string) => Metadata
}

function scene(change: Partial<Facts> = {}): Scene {
  const clock = { ms: 0 }
  const disk = new Map<string, unknown>()
  const writes: string[] = []
  const errors: unknown[] = []
  const make = (origin: string): Metadata => {
    const memory = new Map<string, unknown>()
    const facts: Facts = {
      read: (kind, key) => Promise.resolve(disk.get(`${kind} ${key}`)),
      peek: (kind, key) => memory.get(`${kind} ${key}`),
      write(kind, key, value) {
        writes.push(kind)
        memory.set(`${kind} ${key}`, value)
        disk.set(`${kind} ${key}`, decodeFact(encodeFact(key, value))?.value)
        return Promise.resolve()
      },
      remove(kind, key) {
        disk.delete(`${kind} ${key}`)
        return Promise.resolve()
      },
      async *list(kind) {
        for (const [name, value] of disk)
          if (name.startsWith(`${kind} `)) yield { key: name.slice(kind.length + 1), value }
      },
      async *keys(kind, prefix) {
        const start = `${kind} ${prefix}`
        for (const name of disk.keys()) if (name.startsWith(start)) yield name.slice(kind.length + 1)
      },
      ...change,
    }
    return new Metadata({
      facts,
      origin,
      monotonic: () => clock.ms,
      invalidations: new Invalidations(),
      onWriteError: (error) => errors.push(error),
    })
  }
  const origin = 'https://hub.test/'
  return { metadata: make(origin), clock, disk, writes, errors, restart: (other = origin) => make(other) }
}

describe('files', () => {
  it('are kept for ever', async () => {
    const { metadata, restart } = scene()
    const absent: FileFact = { kind: 'absent', commit: commit('a') }
    metadata.files.set(REPO, commit('a'), 'a/b.txt', FILE)
    metadata.files.set(REPO, commit('a'), 'none', absent)
    for (const mirror of [metadata, restart()]) {
      expect(await mirror.files.get(REPO, commit('a'), 'a/b.txt')).toEqual(FILE)
      expect(await mirror.files.get(REPO, commit('a'), 'none')).toEqual(absent)
    }
  })

  it('are not those of another path, commit, repo or Hub', async () => {
    const { metadata, restart } = scene()
    metadata.files.set(REPO, commit('a'), 'a b', FILE)
    expect(await metadata.files.get(REPO, commit('a'), 'a')).toBeUndefined()
    expect(await metadata.files.get(REPO, commit('b'), 'a b')).toBeUndefined()
    expect(await metadata.files.get(repo('org/name', 'dataset'), commit('a'), 'a b')).toBeUndefined()
    expect(await restart('https://other.test/').files.get(REPO, commit('a'), 'a b')).toBeUndefined()
  })

  it.each([
    ['no record', 'text'],
    ['no commit', { ...FILE.meta, key: FILE.key, commit: 'main' }],
    ['no size', { ...FILE.meta, key: FILE.key, sizeBytes: -1 }],
    ['a size that is no whole number', { ...FILE.meta, key: FILE.key, sizeBytes: 1.5 }],
    ['a key that would be a path', { ...FILE.meta, key: 'sha256:../../etc/passwd' }],
    ['no etag', { ...FILE.meta, key: FILE.key, etag: null }],
    ['an etag that no header may hold', { ...FILE.meta, key: FILE.key, etag: 'a\r\nx: y' }],
    ['a list', []],
  ])('with %s are not used', async (_, value) => {
    const { metadata, disk } = scene()
    metadata.files.set(REPO, commit('a'), 'p', FILE)
    for (const key of disk.keys()) disk.set(key, value)
    expect(await metadata.files.get(REPO, commit('a'), 'p')).toBeUndefined()
  })
})

describe('refs', () => {
  const asked = (askedAt: number, store = true) => ({ askedAt, store })

  it('are fresh for the TTL, counted from the request', async () => {
    const { metadata, clock } = scene()
    clock.ms = 500
    metadata.refs.set(REPO, 'main', commit('a'), asked(100))
    clock.ms = 100 + TTL_MS - 1
    expect(await metadata.refs.get(REPO, 'main', TTL_MS)).toMatchObject({ commit: commit('a'), fresh: true })
    clock.ms = 100 + TTL_MS
    expect(await metadata.refs.get(REPO, 'main', TTL_MS)).toMatchObject({ commit: commit('a'), fresh: false })
  })

  it('are not fresh after a restart', async () => {
    const { metadata, restart } = scene()
    metadata.refs.set(REPO, 'main', commit('a'), asked(0))
    expect(await restart().refs.get(REPO, 'main', TTL_MS)).toEqual({ commit: commit('a'), fresh: false })
  })

  it('that are commits need no entry', async () => {
    const { metadata, writes } = scene()
    expect(await metadata.refs.get(REPO, commit('c'), 0)).toEqual({ commit: commit('c'), fresh: true })
    metadata.refs.set(REPO, commit('c'), commit('d'), asked(0))
    expect(await metadata.refs.get(REPO, commit('c'), 0)).toEqual({ commit: commit('c'), fresh: true })
    expect(writes).toEqual([])
  })

  it('are not restored by a late answer to an earlier request', async () => {
    const { metadata, restart } = scene()
    metadata.refs.set(REPO, 'main', commit('b'), asked(20))
    metadata.refs.set(REPO, 'main', commit('a'), asked(10))
    expect((await metadata.refs.get(REPO, 'main', TTL_MS))?.commit).toBe(commit('b'))
    expect((await restart().refs.get(REPO, 'main', TTL_MS))?.commit).toBe(commit('b'))
  })

  it('of repos that are not public stay in memory', async () => {
    const { metadata, restart, writes } = scene()
    metadata.refs.set(REPO, 'main', commit('a'), asked(0, false))
    expect((await metadata.refs.get(REPO, 'main', TTL_MS))?.commit).toBe(commit('a'))
    expect(await restart().refs.get(REPO, 'main', TTL_MS)).toBeUndefined()
    expect(writes).toEqual([])
  })

  it('are written when they move, not at each revalidation', () => {
    const { metadata, writes } = scene()
    for (let askedAt = 0; askedAt < 5; askedAt += 1)
      metadata.refs.set(REPO, 'main', commit('a'), asked(askedAt))
    expect(writes).toHaveLength(1)
    metadata.refs.set(REPO, 'main', commit('b'), asked(9))
    expect(writes).toHaveLength(2)
  })

  it('without a commit are not used', async () => {
    const { metadata, disk, restart } = scene()
    metadata.refs.set(REPO, 'main', commit('a'), asked(0))
    for (const key of disk.keys()) disk.set(key, { commit: 'main' })
    expect(await restart().refs.get(REPO, 'main', TTL_MS)).toBeUndefined()
  })
})

describe('repos', () => {
  const listed = async ({ repos }: Metadata) => {
    const found = []
    for await (const { type, id } of repos.listPublic()) found.push(`${type} ${id}`)
    return found.toSorted()
  }

  it('that are public are listed, of this Hub alone, also after a restart', async () => {
    const { metadata, restart, disk } = scene()
    const { version } = metadata.repos
    for (const each of [REPO, repo('legacy'), repo('org/name', 'dataset'), repo('org/closed')])
      await metadata.repos.setPublic(each, true)
    await metadata.repos.setPublic(repo('org/closed'), false)
    expect(metadata.repos.version).toBeGreaterThan(version)
    for (const key of ['models/../x', 'planets/a/b', 'models', 'models/org/old 1'])
      disk.set(`repos https://hub.test/ ${key}`, { public: true })
    disk.set('repos https://hub.test/ models/org/none', { public: 'true' })
    const all = ['dataset org/name', 'model legacy', 'model org/name']
    expect(await listed(metadata)).toEqual(all)
    expect(await listed(restart())).toEqual(all)
    expect(await listed(restart('https://other.test/'))).toEqual([])
  })

  it('are not listed where the disk cannot be read', async () => {
    const { metadata, errors } = scene({
      list: () =>
        new Readable({
          read() {
            this.destroy(new Error('EIO'))
          },
        }),
    })
    expect(await listed(metadata)).toEqual([])
    expect(errors).toHaveLength(1)
  })
})

describe('documents', () => {
  it('are kept with their headers', async () => {
    const { metadata, restart } = scene()
    metadata.documents.set('repo org/name', DOCUMENT, 0)
    expect(await restart().documents.get('repo org/name')).toEqual(DOCUMENT)
    expect(await restart('https://other.test/').documents.get('repo org/name')).toBeUndefined()
  })

  it('are written again only when they have changed', () => {
    const { metadata, writes } = scene()
    metadata.documents.set('n', DOCUMENT, 0)
    metadata.documents.set('n', { ...DOCUMENT }, 0)
    expect(writes).toHaveLength(1)
    metadata.documents.set('n', { ...DOCUMENT, link: undefined }, 0)
    expect(writes).toHaveLength(2)
  })

  it('of earlier versions, whose bodies are texts, are read', async () => {
    const { metadata, disk } = scene()
    metadata.documents.set('n', DOCUMENT, 0)
    for (const key of disk.keys()) disk.set(key, { ...DOCUMENT, body: '{"a":"ü"}' })
    expect((await metadata.documents.get('n'))?.body).toEqual(Buffer.from('{"a":"ü"}'))
  })

  it('keep only the headers that are text', async () => {
    const { metadata, disk } = scene()
    metadata.documents.set('n', DOCUMENT, 0)
    for (const key of disk.keys()) disk.set(key, { ...DOCUMENT, headers: { a: 'b', c: 1, d: null } })
    expect((await metadata.documents.get('n'))?.headers).toEqual({ a: 'b' })
    for (const key of disk.keys()) disk.set(key, { contentType: 'x' })
    expect(await metadata.documents.get('n')).toBeUndefined()
  })
})

describe('a disk that fails', () => {
  it('counts as empty, and reports the error', async () => {
    const { metadata, errors } = scene({ read: () => Promise.reject(new Error('EIO')) })
    expect(await metadata.files.get(REPO, commit('a'), 'p')).toBeUndefined()
    expect(await metadata.refs.get(REPO, 'main', TTL_MS)).toBeUndefined()
    expect(await metadata.documents.get('n')).toBeUndefined()
    expect(await metadata.repos.wasPublic(REPO)).toBe(false)
    expect(errors).toHaveLength(4)
  })

  it('reports a fact that it cannot store, and fails no request', async () => {
    const { metadata, errors } = scene({ write: () => Promise.reject(new Error('ENOSPC')) })
    metadata.files.set(REPO, commit('a'), 'p', FILE)
    metadata.refs.set(REPO, 'main', commit('a'), { askedAt: 0, store: true })
    metadata.documents.set('n', DOCUMENT, 0)
    await metadata.repos.setPublic(REPO, true)
    // The file, the ref and its name, the document, the repo.
    await vi.waitFor(() => expect(errors).toHaveLength(5))
  })
})

it('the fact that a repo was public is stored, and removed when the repo is not public any more', async () => {
  const { metadata, restart } = scene()
  await metadata.repos.setPublic(REPO, true)
  expect(await restart().repos.wasPublic(REPO)).toBe(true)
  await metadata.repos.setPublic(REPO, false)
  expect(await restart().repos.wasPublic(REPO)).toBe(false)
})
