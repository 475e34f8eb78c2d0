import { Readable } from 'node:stream'
import { describe, expect, it } from 'vitest'
import { Access } from '../../../src/mirror/access/access.ts'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { Metadata } from '../../../src/mirror/metadata/metadata.ts'
import type { Facts } from '../../../src/store/store.ts'
import { NOT_NAMED } from '../../support/not-named.ts'
import { repo } from '../hub/repo.ts'

const REPO = repo('org/name')
const TTL_MS = 60_000

interface Scene {
  readonly access: Access
  readonly clock: { ms: number }
  readonly facts: Facts
  /** As after a restart: memory is empty, the disk is not. */
  readonly restart: () => Access
}

/** Facts whose disk outlives them. */
function factsOn(disk: Map<string, unknown>): Facts {
  const memory = new Map<string, unknown>()
  return {
    peek: (kind, key) => memory.get(`${kind} ${key}`),
    read: (kind, key) => Promise.resolve(disk.get(`${kind} ${key}`)),
    write(kind, key, value) {
      for (const place of [memory, disk]) place.set(`${kind} ${key}`, value)
      return Promise.resolve()
    },
    remove(kind, key) {
      for (const place of [memory, disk]) place.delete(`${kind} ${key}`)
      return Promise.resolve()
    },
    list: () => Readable.from([]),
    keys: () => Readable.from([]),
  }
}

function scene(change: (facts: Facts) => Facts = (facts) => facts): Scene {
  const disk = new Map<string, unknown>()
  const clock = { ms: 1000 }
  const monotonic = (): number => clock.ms
  const invalidations = new Invalidations()
  const make = (facts: Facts): Access =>
    new Access({
      invalidations,
      restricted: NOT_NAMED,
      metadata: new Metadata({
        invalidations,
        facts,
        origin: 'https://hub.test/',
        monotonic,
        onWriteError: () => undefined,
      }),
      settings: { accessTtlMs: TTL_MS, staleGraceMs: 0 },
      monotonic,
    })
  const facts = change(factsOn(disk))
  return {
    access: make(facts),
    clock,
    facts,
    restart: () => make(factsOn(disk)),
  }
}

/** An answer that comes when the test says so. */
function later<T>(): { answer: Promise<T>; give: (value: T) => void } {
  let give: (value: T) => void = () => {}
  const answer = new Promise<T>((resolve) => (give = resolve))
  return { answer, give }
}

describe('a verdict', () => {
  it('is trusted for the access TTL, counted from the request, and no longer', async () => {
    const { access, clock } = scene()
    expect(access.verdict(REPO)).toBeUndefined()
    const askedAt = clock.ms
    clock.ms += 10_000
    await access.proved(REPO, askedAt)
    expect(access.verdict(REPO)).toBe('public')
    clock.ms = askedAt + TTL_MS - 1
    expect(access.verdict(REPO)).toBe('public')
    clock.ms = askedAt + TTL_MS
    expect(access.verdict(REPO)).toBeUndefined()
  })

  it('of one repo says nothing about another', async () => {
    const { access, clock } = scene()
    await access.proved(REPO, clock.ms)
    for (const other of [repo('org/name', 'dataset'), repo('org/other'), repo('org2/name')]) {
      expect(access.verdict(other)).toBeUndefined()
      expect(await access.lastKnownPublic(other)).toBe(false)
    }
  })

  it('does not survive a restart; only that the repo was public does', async () => {
    const { access, clock, restart } = scene()
    await access.proved(REPO, clock.ms)
    const again = restart()
    expect(again.verdict(REPO)).toBeUndefined()
    expect(await again.lastKnownPublic(REPO)).toBe(true)
  })

  it('is restricted after a refusal, also after a restart', async () => {
    const { access, clock, restart } = scene()
    await access.proved(REPO, clock.ms)
    await access.withdrawn(REPO, (clock.ms += 1))
    expect(access.verdict(REPO)).toBe('restricted')
    expect(await access.lastKnownPublic(REPO)).toBe(false)
    expect(await restart().lastKnownPublic(REPO)).toBe(false)
  })

  it('is in doubt after the refusal of a token: neither public nor settled, until the Hub is asked without one', async () => {
    const { access, clock } = scene()
    await access.proved(REPO, clock.ms)
    await access.withdrawn(REPO, (clock.ms += 1), 'token')
    expect(access.verdict(REPO)).toBeUndefined()
    expect(await access.lastKnownPublic(REPO)).toBe(false)
    clock.ms += 1
    expect(await access.prove(REPO, () => Promise.resolve(true))).toBe(true)
    expect(access.verdict(REPO)).toBe('public')
  })

  it('may become public again', async () => {
    const { access, clock, restart } = scene()
    await access.withdrawn(REPO, clock.ms)
    await access.proved(REPO, (clock.ms += 1))
    expect(access.verdict(REPO)).toBe('public')
    expect(await restart().lastKnownPublic(REPO)).toBe(true)
  })
})

describe('when answers arrive out of order', () => {
  it.each([
    ['a withdrawal stands against a proof that was asked for before it', 10, 20],
    ['a withdrawal stands against a proof that was asked for at the same moment', 20, 20],
  ])('%s', async (_, provedAt, withdrawnAt) => {
    const { access, restart } = scene()
    await access.withdrawn(REPO, withdrawnAt)
    await access.proved(REPO, provedAt)
    expect(access.verdict(REPO)).toBe('restricted')
    expect(await restart().lastKnownPublic(REPO)).toBe(false)
  })

  it('a late withdrawal still ends what a later request proved', async () => {
    const { access, restart } = scene()
    await access.proved(REPO, 20)
    await access.withdrawn(REPO, 10)
    expect(access.verdict(REPO)).toBe('restricted')
    expect(await restart().lastKnownPublic(REPO)).toBe(false)
  })

  it('the last answer decides what is on the disk, whichever is written sooner', async () => {
    const { access, clock, restart } = scene()
    for (let round = 0; round < 20; round += 1) {
      clock.ms += 1
      const proving = access.proved(REPO, clock.ms)
      clock.ms += 1
      await Promise.all([proving, access.withdrawn(REPO, clock.ms)])
      expect(await restart().lastKnownPublic(REPO)).toBe(false)
    }
  })

  it('a withdrawal counts at once, before it is on the disk', async () => {
    const { access, clock } = scene()
    await access.proved(REPO, clock.ms)
    const withdrawing = access.withdrawn(REPO, (clock.ms += 1))
    expect(access.verdict(REPO)).toBe('restricted')
    expect(await access.lastKnownPublic(REPO)).toBe(false)
    await withdrawing
  })

  it('a withdrawal counts even if it is old and never reaches the disk', async () => {
    const { access, clock } = scene((facts) => ({
      ...facts,
      remove: () => Promise.reject(new Error('EROFS')),
    }))
    await access.proved(REPO, clock.ms)
    await access.withdrawn(REPO, (clock.ms += 1))
    clock.ms += 10 * TTL_MS
    expect(access.verdict(REPO)).toBeUndefined()
    expect(await access.lastKnownPublic(REPO)).toBe(false)
  })

  it('a withdrawal also removes a fact that cannot be read', async () => {
    const removed: string[] = []
    const { access, clock } = scene((facts) => ({
      ...facts,
      read: () => Promise.reject(new Error('EIO')),
      remove(kind) {
        removed.push(kind)
        return Promise.resolve()
      },
    }))
    await access.withdrawn(REPO, clock.ms)
    expect(removed).toEqual(['repos'])
    expect(await access.lastKnownPublic(REPO)).toBe(false)
  })
})

describe('a proof', () => {
  it('sends one request for all callers that need to know', async () => {
    const { access } = scene()
    const { answer, give } = later<boolean | undefined>()
    let asked = 0
    const ask = (): Promise<boolean | undefined> => {
      asked += 1
      return answer
    }
    const all = [access.prove(REPO, ask), access.prove(REPO, ask)]
    give(true)
    expect(await Promise.all(all)).toEqual([true, true])
    expect(asked).toBe(1)
    expect(access.verdict(REPO)).toBe('public')
  })

  it.each([
    ['says nothing', () => Promise.resolve(undefined)],
    ['is away', () => Promise.reject(new Error('away'))],
  ])('is not given when the origin %s', async (_, ask) => {
    const { access, clock } = scene()
    expect(await access.prove(REPO, ask)).toBe(false)
    expect(access.verdict(REPO)).toBeUndefined()
    await access.proved(REPO, clock.ms)
    expect(await access.prove(REPO, ask)).toBe(false)
    expect(await access.lastKnownPublic(REPO)).toBe(true)
  })

  it('counts from the request, not from the answer', async () => {
    const { access, clock } = scene()
    const askedAt = clock.ms
    await access.prove(REPO, () => {
      clock.ms += TTL_MS - 5
      return Promise.resolve(true)
    })
    expect(access.verdict(REPO)).toBe('public')
    clock.ms = askedAt + TTL_MS
    expect(access.verdict(REPO)).toBeUndefined()
  })

  it('does not report "public" to its requester when the repo was withdrawn while it waited', async () => {
    const { access, clock } = scene()
    const { answer, give } = later<boolean | undefined>()
    const proving = access.prove(REPO, () => answer)
    await access.withdrawn(REPO, (clock.ms += 1))
    give(true)
    expect(await proving).toBe(false)
    expect(access.verdict(REPO)).toBe('restricted')
  })

  it('withdraws the verdict when an anonymous request is refused', async () => {
    const { access, clock, restart } = scene()
    await access.proved(REPO, clock.ms)
    clock.ms += 1
    expect(await access.prove(REPO, () => Promise.resolve(false))).toBe(false)
    expect(access.verdict(REPO)).toBe('restricted')
    expect(await restart().lastKnownPublic(REPO)).toBe(false)
  })
})
