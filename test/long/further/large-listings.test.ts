// Listings of very large commits are learnt in small steps, as far as their memory goes, and are forgotten for others.

import { describe, expect, it } from 'vitest'
import type { ListedFile } from '../../../src/hub/listing.ts'
import { type CommitHash, isCommitHash, parseRepoId, type Repo } from '../../../src/hub/names.ts'
import { CommitListings } from '../../../src/mirror/files/commit-listings.ts'
import { silentObserver } from '../../../src/telemetry/observer.ts'

const OID = 'a1'.repeat(20)

function commitOf(digit: string): CommitHash {
  const text = digit.repeat(40)
  if (!isCommitHash(text)) throw new Error('no commit')
  return text
}

function repoOf(name: string): Repo {
  const id = parseRepoId(name)
  if (id === undefined) throw new Error('no repo')
  return { type: 'dataset', id }
}

const REPO = repoOf('acme/many')

function listings() {
  return new CommitListings({
    client: { hasSpareQuota: () => true, url: (target) => new URL(target, 'http://hub.invalid') },
    observer: silentObserver,
    monotonic: () => 0,
    invalidations: { onRemoved() {} },
    readPage: async () => undefined,
  })
}

/** What is known of a file. */
function fileOf(known: CommitListings, repo: Repo, digit: string, path: string): ListedFile | undefined {
  const index = known.index({ repo, commit: commitOf(digit) })
  const place = index?.find(path)
  return place && index?.at(place)
}

describe('a listing', () => {
  it('of a million files is learnt in small steps, as far as its memory goes', async () => {
    const item = (index: number) =>
      `{"type":"file","oid":"${OID}","size":${index},"path":"data/train/part-${String(index).padStart(7, '0')}.jsonl"}`
    const parts: Buffer[] = []
    for (let start = 0; start < 1_000_000; start += 10_000) {
      const items = Array.from({ length: 10_000 }, (_, index) => item(start + index))
      parts.push(Buffer.from(`${start === 0 ? '[' : ','}${items.join(',')}`))
    }
    const body = Buffer.concat([...parts, Buffer.from(']')])
    const known = listings()
    const before = process.memoryUsage()
    let turns = 0
    let isLearning = true
    const count = (): void => {
      turns += 1
      if (isLearning) setImmediate(count)
    }
    setImmediate(count)
    await known.learn({ repo: REPO, commit: commitOf('1'), name: 'whole' }, body, [0, body.length])
    isLearning = false
    const after = process.memoryUsage()
    // Other work has a turn after each 200 files.
    const learnt = known.index({ repo: REPO, commit: commitOf('1') })?.files ?? 0
    expect(learnt).toBeGreaterThan(350_000)
    expect(turns).toBeGreaterThanOrEqual(learnt / 200)
    expect(after.arrayBuffers - before.arrayBuffers).toBeLessThan(40 * 1024 * 1024)
    const first = fileOf(known, REPO, '1', 'data/train/part-0000000.jsonl')
    expect(first).toEqual({
      path: 'data/train/part-0000000.jsonl',
      etag: OID,
      sizeBytes: 0,
      lfs: false,
    })
    expect(fileOf(known, REPO, '1', 'data/train/part-0300000.jsonl')?.sizeBytes).toBe(300_000)
    expect(fileOf(known, REPO, '1', 'data/train/part-0999999.jsonl')).toBeUndefined()
  }, 60_000)

  it('of one commit says nothing of another, and is forgotten for others that are used more', async () => {
    const known = listings()
    const body = Buffer.from(
      `[${Array.from({ length: 20_000 }, (_, index) => `{"type":"file","oid":"${OID}","size":1,"path":"${'p'.repeat(1000)}${index}"}`).join(',')}]`,
    )
    for (const digit of ['1', '2', '3', '4'])
      await known.learn({ repo: REPO, commit: commitOf(digit), name: 'tree' }, body, [0, body.length])
    const isKnown = (repo: Repo, digit: string) =>
      fileOf(known, repo, digit, `${'p'.repeat(1000)}0`) !== undefined
    expect([isKnown(REPO, '4'), isKnown(REPO, '1'), isKnown(REPO, '5')]).toEqual([true, false, false])
    expect(isKnown(repoOf('acme/other'), '4')).toBe(false)
    known.distrust({ repo: REPO, commit: commitOf('4') })
    expect(isKnown(REPO, '4')).toBe(false)
    await known.learn({ repo: REPO, commit: commitOf('4'), name: 'tree' }, body, [0, body.length])
    expect(isKnown(REPO, '4'), 'once distrusted, always').toBe(false)
  })
})
