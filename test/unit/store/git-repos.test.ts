// The repositories of the store as folders: what appears, what is replaced, and what is counted. Git has no part in it.

import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import type { DiskStore } from '../../../src/store/disk-store.ts'
import type { GitDraft } from '../../../src/store/git/git-repos.ts'
import { createLayout } from '../../../src/store/layout.ts'
import { eventually } from '../../support/eventually.ts'
import { open, patternBytes, scratchDirectory } from './scratch.ts'

const OWNER = 'https://huggingface.co/ models/org/name'
const MB = 1_000_000

/** Writes what a fetch would: refs, and a pack. */
async function fetchInto(draft: GitDraft, refs: string, sizeBytes: number, pack = 'a'): Promise<void> {
  await writeFile(path.join(draft.directory, 'packed-refs'), refs)
  const file = path.join(draft.directory, 'objects/pack', `pack-${pack.repeat(40)}.pack`)
  await writeFile(file, patternBytes(sizeBytes))
}

async function begin(store: DiskStore, owner = OWNER): Promise<GitDraft> {
  const draft = await store.git.begin(owner)
  if (draft === undefined) throw new Error('no room')
  return draft
}

async function keep(store: DiskStore, refs: string, sizeBytes: number, owner = OWNER): Promise<void> {
  const draft = await begin(store, owner)
  await fetchInto(draft, refs, sizeBytes)
  expect(await draft.grow()).toBe(true)
  await draft.commit()
}

async function refsOf(store: DiskStore, owner = OWNER): Promise<string | undefined> {
  const opened = await store.git.open(owner)
  opened?.release()
  return opened && readFile(path.join(opened.directory, 'packed-refs'), 'utf8')
}

describe('a git repository', () => {
  it('appears as a whole, is counted after a restart, and is removed as a whole', async () => {
    const root = await scratchDirectory()
    const first = await open(root)
    const draft = await begin(first)
    await fetchInto(draft, 'one', MB)
    expect(await refsOf(first)).toBeUndefined()
    await draft.commit()
    await draft.discard()
    expect(await refsOf(first)).toBe('one')
    const { sizeBytes } = first.status()
    expect([sizeBytes >= MB, first.status().reservedBytes]).toEqual([true, 0])
    await first.close()

    const second = await open(root)
    await second.scanned
    expect(second.status().sizeBytes).toBe(sizeBytes)
    expect(await refsOf(second)).toBe('one')
    await second.git.remove(OWNER)
    expect([await refsOf(second), second.status().blobs]).toEqual([undefined, 0])
    expect(await readdir(createLayout(root).tmp)).toEqual([])
    await second.close()
  })

  it('is replaced by a newer state, which shares the packs of the older one', async () => {
    const root = await scratchDirectory()
    const store = await open(root)
    await keep(store, 'one', MB)
    const same = await begin(store)
    await same.commit()
    expect(await refsOf(store)).toBe('one')
    const draft = await begin(store)
    const packs = path.join(draft.directory, 'objects/pack')
    expect(await readdir(packs)).toHaveLength(1)
    expect((await stat(path.join(packs, `pack-${'a'.repeat(40)}.pack`))).nlink).toBe(2)
    await fetchInto(draft, 'two', 1000, 'b')
    await draft.commit()
    expect(await refsOf(store)).toBe('two')
    expect(store.status()).toMatchObject({ blobs: 1, reservedBytes: 0 })
    expect(await readdir(createLayout(root).tmp)).toEqual([])
    await store.close()
  })

  it('is not replaced while it is read', async () => {
    const store = await open(await scratchDirectory())
    await keep(store, 'one', 1000)
    const reader = await store.git.open(OWNER)
    await keep(store, 'two', 1000)
    expect(await refsOf(store)).toBe('one')
    reader?.release()
    await keep(store, 'two', 1000)
    expect(await refsOf(store)).toBe('two')
    await store.close()
  })

  it('that grows beyond the room of the store gets no more of it, and leaves nothing', async () => {
    const store = await open(await scratchDirectory(), { maxBytes: 10 * MB })
    const draft = await begin(store)
    await fetchInto(draft, 'one', 3 * MB)
    expect(await draft.grow()).toBe(true)
    await fetchInto(draft, 'one', 9 * MB)
    expect(await draft.grow()).toBe(false)
    await draft.discard()
    expect(store.status()).toMatchObject({ blobs: 0, reservedBytes: 0 })
    expect(await refsOf(store)).toBeUndefined()
    await store.close()
  })

  it('is evicted when room is needed, but not while it is read', async () => {
    const store = await open(await scratchDirectory(), { maxBytes: 12 * MB })
    await keep(store, 'one', 3 * MB, `${OWNER}1`)
    await keep(store, 'two', 3 * MB, `${OWNER}2`)
    const reader = await store.git.open(`${OWNER}1`)
    const room = await store.ledger.reserve(7 * MB)
    expect(room).toBeDefined()
    await eventually(
      () => refsOf(store, `${OWNER}2`),
      (refs) => refs === undefined,
    )
    expect(await refsOf(store, `${OWNER}1`)).toBe('one')
    reader?.release()
    room?.release()
    await store.close()
  })

  it('that was left unfinished is gone after a restart, and a folder that names another repo is none', async () => {
    const root = await scratchDirectory()
    const first = await open(root)
    const draft = await begin(first)
    await fetchInto(draft, 'one', 1000)
    await first.close()
    const strange = path.join(root, 'git/ab', 'ab'.repeat(32))
    await mkdir(strange, { recursive: true })
    await writeFile(path.join(strange, 'hubmirror.json'), JSON.stringify({ owner: OWNER, sizeBytes: 5 }))
    const second = await open(root)
    await second.scanned
    expect([second.status().blobs, await refsOf(second)]).toEqual([0, undefined])
    expect(await readdir(createLayout(root).tmp)).toEqual([])
    await second.close()
  })
})
