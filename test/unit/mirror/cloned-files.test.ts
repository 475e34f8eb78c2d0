// Who waits for whom while kept git repositories are read.

import { expect, it } from 'vitest'
import type { GitFiles } from '../../../src/git/files.ts'
import type { CommitHash, Repo } from '../../../src/hub/names.ts'
import { ClonedFiles } from '../../../src/mirror/cloned-files.ts'

const REPO: Repo = { type: 'model', id: 'acme/open' as Repo['id'] }
const COMMIT = 'c'.repeat(40) as CommitHash
const LARGE = { id: 'a'.repeat(40), sizeBytes: 1024 * 1024 }
const SMALL = { id: 'b'.repeat(40), sizeBytes: 3 }
/** So many large blobs are read at the same time. */
const AT_ONCE = 8

function scene() {
  let opened = 0
  const files: GitFiles = {
    refs: async () => [{ ref: 'refs/heads/main', commit: COMMIT }],
    hasCommit: async () => true,
    tree: async () => [],
    log: async () => ({ commits: [], total: 0 }),
    blobs: async () => [Buffer.from('abc')],
    async *blob() {
      yield Buffer.alloc(LARGE.sizeBytes)
    },
  }
  const cloned = new ClonedFiles({
    files,
    git: { isThere: async () => true, present: async (_directory, ids) => new Set(ids) },
    store: {
      async open() {
        opened += 1
        return { directory: '/nowhere', release: () => void (opened -= 1) }
      },
    },
    isOn: true,
    origin: 'https://hub.example',
    onTrouble: (_repo, error) => expect.unreachable(String(error)),
  })
  /** A client that has got a byte and reads no further. */
  const read = (blob: typeof LARGE, signal = new AbortController().signal) => {
    const bytes = cloned.read(REPO, blob, { start: 0, end: blob.sizeBytes }, signal)
    return { first: bytes.next(), leave: () => bytes.return() }
  }
  return { cloned, read, opened: () => opened }
}

it('clients that take large blobs slowly hold up no question and no small blob', async () => {
  const { cloned, read, opened } = scene()
  const slow = Array.from({ length: AT_ONCE }, () => read(LARGE))
  await Promise.all(slow.map(({ first }) => first))
  const waiting = read(LARGE)

  expect((await cloned.refs(REPO))?.branches).toHaveLength(1)
  expect(await cloned.items(REPO, COMMIT)).toEqual([])
  const small = read(SMALL)
  expect((await small.first).value?.toString()).toBe('abc')
  await small.leave()
  expect(opened(), 'small blobs and questions hold no repository').toBe(AT_ONCE)

  await slow[0]!.leave()
  expect((await waiting.first).value).toHaveLength(LARGE.sizeBytes)
  await Promise.all([...slow, waiting].map(({ leave }) => leave()))
  expect(opened()).toBe(0)
})

it('a client that leaves while it waits takes no place', async () => {
  const { read, opened } = scene()
  const slow = Array.from({ length: AT_ONCE }, () => read(LARGE))
  await Promise.all(slow.map(({ first }) => first))
  const left = new AbortController()
  const leaving = read(LARGE, left.signal)
  const next = read(LARGE)
  left.abort()
  await expect(leaving.first).rejects.toThrow(/no resources/)
  await slow[0]!.leave()
  expect((await next.first).value).toHaveLength(LARGE.sizeBytes)
  await Promise.all([...slow, next].map(({ leave }) => leave()))
  expect(opened()).toBe(0)
})
