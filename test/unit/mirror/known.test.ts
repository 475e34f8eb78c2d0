import { describe, expect, it, vi } from 'vitest'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { type DocumentFact, type FileFact, Known } from '../../../src/mirror/known.ts'
import { decodeFact, encodeFact } from '../../../src/store/facts/fact-file.ts'
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
  readonly known: Known
  readonly clock: { ms: number }
  /** The facts as the disk holds them, by kind and key. */
  readonly disk: Map<string, unknown>
  readonly writes: string[]
  readonly errors: unknown[]
  readonly restart: (origin?: string) => Known
}

function scene(change: Partial<Facts> = {}): Scene {
  const clock = { ms: 0 }
  const disk = new Map<string, unknown>()
  const writes: string[] = []
  const errors: unknown[] = []
  const make = (origin: string): Known => {
    const memory = new Map<string, unknown>()
    const facts: Facts = {
      read: (kind, key) => Promise.resolve(disk.get(`${kind} ${key}`)),
      peek: (kind, key) => memory.get(`${kind} ${key}`),
      write(kind, key, value) {
        writes.push(kind)
        memory.set(`${kind} ${key}`, value)
        disk.set(`${kind} ${key}`, decodeFact(Buffer.concat(encodeFact(key, value).content))?.value)
        return Promise.resolve()
      },
      remove(kind, key) {
        disk.delete(`${kind} ${key}`)
        return Promise.resolve()
      },
      ...change,
    }
    return new Known({
      facts,
      origin,
      monotonic: () => clock.ms,
      invalidations: new Invalidations(),
      onWriteError: (error) => errors.push(error),
    })
  }
  const origin = 'https://hub.test/'
  return { known: make(origin), clock, disk, writes, errors, restart: (other = origin) => make(other) }
}

describe('files', () => {
  it('are remembered for ever', async () => {
    const { known, restart } = scene()
    const absent: FileFact = { kind: 'absent', commit: commit('a') }
    known.rememberFile(REPO, commit('a'), 'a/b.txt', FILE)
    known.rememberFile(REPO, commit('a'), 'none', absent)
    for (const mirror of [known, restart()]) {
      expect(await mirror.file(REPO, commit('a'), 'a/b.txt')).toEqual(FILE)
      expect(await mirror.file(REPO, commit('a'), 'none')).toEqual(absent)
    }
  })

  it('are not those of another path, commit, repo or Hub', async () => {
    const { known, restart } = scene()
    known.rememberFile(REPO, commit('a'), 'a b', FILE)
    expect(await known.file(REPO, commit('a'), 'a')).toBeUndefined()
    expect(await known.file(REPO, commit('b'), 'a b')).toBeUndefined()
    expect(await known.file(repo('org/name', 'dataset'), commit('a'), 'a b')).toBeUndefined()
    expect(await restart('https://other.test/').file(REPO, commit('a'), 'a b')).toBeUndefined()
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
  ])('with %s are not believed', async (_, value) => {
    const { known, disk } = scene()
    known.rememberFile(REPO, commit('a'), 'p', FILE)
    for (const key of disk.keys()) disk.set(key, value)
    expect(await known.file(REPO, commit('a'), 'p')).toBeUndefined()
  })
})

describe('refs', () => {
  const asked = (askedAt: number, store = true) => ({ askedAt, store })

  it('are fresh for their time, counted from the question', async () => {
    const { known, clock } = scene()
    clock.ms = 500
    known.rememberRef(REPO, 'main', commit('a'), asked(100))
    clock.ms = 100 + TTL_MS - 1
    expect(await known.ref(REPO, 'main', TTL_MS)).toMatchObject({ commit: commit('a'), fresh: true })
    clock.ms = 100 + TTL_MS
    expect(await known.ref(REPO, 'main', TTL_MS)).toMatchObject({ commit: commit('a'), fresh: false })
  })

  it('are not fresh after a restart', async () => {
    const { known, restart } = scene()
    known.rememberRef(REPO, 'main', commit('a'), asked(0))
    expect(await restart().ref(REPO, 'main', TTL_MS)).toEqual({ commit: commit('a'), fresh: false })
  })

  it('that are commits need no memory', async () => {
    const { known, writes } = scene()
    expect(await known.ref(REPO, commit('c'), 0)).toEqual({ commit: commit('c'), fresh: true })
    known.rememberRef(REPO, commit('c'), commit('d'), asked(0))
    expect(await known.ref(REPO, commit('c'), 0)).toEqual({ commit: commit('c'), fresh: true })
    expect(writes).toEqual([])
  })

  it('are not put back by a late answer to an earlier question', async () => {
    const { known, restart } = scene()
    known.rememberRef(REPO, 'main', commit('b'), asked(20))
    known.rememberRef(REPO, 'main', commit('a'), asked(10))
    expect((await known.ref(REPO, 'main', TTL_MS))?.commit).toBe(commit('b'))
    expect((await restart().ref(REPO, 'main', TTL_MS))?.commit).toBe(commit('b'))
  })

  it('of repos that are not public stay in memory', async () => {
    const { known, restart, writes } = scene()
    known.rememberRef(REPO, 'main', commit('a'), asked(0, false))
    expect((await known.ref(REPO, 'main', TTL_MS))?.commit).toBe(commit('a'))
    expect(await restart().ref(REPO, 'main', TTL_MS)).toBeUndefined()
    expect(writes).toEqual([])
  })

  it('are written when they move, not each time they are asked for', () => {
    const { known, writes } = scene()
    for (let askedAt = 0; askedAt < 5; askedAt += 1)
      known.rememberRef(REPO, 'main', commit('a'), asked(askedAt))
    expect(writes).toHaveLength(1)
    known.rememberRef(REPO, 'main', commit('b'), asked(9))
    expect(writes).toHaveLength(2)
  })

  it('with no commit in them are not believed', async () => {
    const { known, disk, restart } = scene()
    known.rememberRef(REPO, 'main', commit('a'), asked(0))
    for (const key of disk.keys()) disk.set(key, { commit: 'main' })
    expect(await restart().ref(REPO, 'main', TTL_MS)).toBeUndefined()
  })
})

describe('documents', () => {
  it('are remembered with their headers', async () => {
    const { known, restart } = scene()
    known.rememberDocument('repo org/name', DOCUMENT, 0)
    expect(await restart().document('repo org/name')).toEqual(DOCUMENT)
    expect(await restart('https://other.test/').document('repo org/name')).toBeUndefined()
  })

  it('are written again only when they changed', () => {
    const { known, writes } = scene()
    known.rememberDocument('n', DOCUMENT, 0)
    known.rememberDocument('n', { ...DOCUMENT }, 0)
    expect(writes).toHaveLength(1)
    known.rememberDocument('n', { ...DOCUMENT, link: undefined }, 0)
    expect(writes).toHaveLength(2)
  })

  it('of earlier versions, whose bodies are texts, are read', async () => {
    const { known, disk } = scene()
    known.rememberDocument('n', DOCUMENT, 0)
    for (const key of disk.keys()) disk.set(key, { ...DOCUMENT, body: '{"a":"ü"}' })
    expect((await known.document('n'))?.body).toEqual(Buffer.from('{"a":"ü"}'))
  })

  it('keep only the headers that are text', async () => {
    const { known, disk } = scene()
    known.rememberDocument('n', DOCUMENT, 0)
    for (const key of disk.keys()) disk.set(key, { ...DOCUMENT, headers: { a: 'b', c: 1, d: null } })
    expect((await known.document('n'))?.headers).toEqual({ a: 'b' })
    for (const key of disk.keys()) disk.set(key, { contentType: 'x' })
    expect(await known.document('n')).toBeUndefined()
  })
})

describe('a disk that fails', () => {
  it('knows nothing, and says so', async () => {
    const { known, errors } = scene({ read: () => Promise.reject(new Error('EIO')) })
    expect(await known.file(REPO, commit('a'), 'p')).toBeUndefined()
    expect(await known.ref(REPO, 'main', TTL_MS)).toBeUndefined()
    expect(await known.document('n')).toBeUndefined()
    expect(await known.wasPublic(REPO)).toBe(false)
    expect(errors).toHaveLength(4)
  })

  it('is told to whoever listens when it does not take a fact, and to nobody else', async () => {
    const { known, errors } = scene({ write: () => Promise.reject(new Error('ENOSPC')) })
    known.rememberFile(REPO, commit('a'), 'p', FILE)
    known.rememberRef(REPO, 'main', commit('a'), { askedAt: 0, store: true })
    known.rememberDocument('n', DOCUMENT, 0)
    await known.rememberPublic(REPO, true)
    // The file, the ref and its name, the document, the repo.
    await vi.waitFor(() => expect(errors).toHaveLength(5))
  })
})

it('a repo that was public is remembered, and forgotten when it is not', async () => {
  const { known, restart } = scene()
  await known.rememberPublic(REPO, true)
  expect(await restart().wasPublic(REPO)).toBe(true)
  await known.rememberPublic(REPO, false)
  expect(await restart().wasPublic(REPO)).toBe(false)
})
