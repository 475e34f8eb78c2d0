// What is kept of restricted repos that a rule names: in which order answers count, and what the disk has before, during and after.

import { setImmediate as yieldToEventLoop } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import type { CommitHash } from '../../../src/hub/names.ts'
import { Invalidations } from '../../../src/mirror/invalidations.ts'
import { Metadata } from '../../../src/mirror/metadata/metadata.ts'
import { RestrictedMetadata } from '../../../src/mirror/metadata/restricted.ts'
import type { Facts } from '../../../src/store/store.ts'
import { policiesOf } from '../../support/policies.ts'
import { repo } from '../hub/repo.ts'

const ORIGIN = 'https://hub.test/'
const COMMIT = 'c'.repeat(40) as CommitHash
const NAMED = repo('acme/secret')
const OTHER = repo('acme/other')
const SERVE = '- {action: serve-stored, match: {repo: acme/secret, type: model, caller: {mirrorToken: ci}}}'
const DOCUMENT = { body: Buffer.from('{}'), contentType: 'application/json', link: undefined, headers: {} }

function scene() {
  const disk = new Map<string, unknown>()
  const changes: string[] = []
  const settings = { policies: policiesOf(SERVE) }
  const facts: Facts = {
    peek: () => undefined,
    read: async (kind, key) => disk.get(`${kind} ${key}`),
    async write(kind, key, value) {
      changes.push(`${kind} ${key}`)
      disk.set(`${kind} ${key}`, value)
    },
    async remove(kind, key) {
      changes.push(`no ${kind} ${key}`)
      disk.delete(`${kind} ${key}`)
    },
    async *list(kind) {
      for (const [name, value] of disk)
        if (name.startsWith(`${kind} `)) yield { key: name.slice(kind.length + 1), value }
    },
    async *keys(kind, prefix) {
      for (const name of disk.keys())
        if (name.startsWith(`${kind} ${prefix}`)) yield name.slice(kind.length + 1)
    },
  }
  const invalidations = new Invalidations()
  const rest = { facts, origin: ORIGIN, monotonic: () => 100, invalidations, onWriteError: () => undefined }
  const start = (cachePrivate = true) => new RestrictedMetadata({ ...rest, settings, cachePrivate })
  const metadata = new Metadata(rest)
  return { disk, changes, settings, invalidations, start, metadata, restricted: start() }
}

function keepAll(restricted: RestrictedMetadata, about = NAMED): void {
  restricted.keepFile(about, COMMIT, 'config.json', { kind: 'absent', commit: COMMIT })
  restricted.keepRef(about, 'main', COMMIT, 1)
  restricted.keepDocument(about, `GET /api/models/${about.id}/tree/main`, DOCUMENT, 1)
  restricted.keepDocument(about, `POST /api/models/${about.id}/paths-info/main 0a1b`, DOCUMENT, 1)
}

const never = new AbortController().signal

describe('a restricted repo that a rule names', () => {
  it('is shown until something ends that, by the time of the requests, also after a restart', async () => {
    const { restricted, start } = scene()
    expect(await restricted.isShown(NAMED)).toBe(false)
    restricted.show(NAMED, 10)
    expect(await restricted.isShown(NAMED)).toBe(true)
    await restricted.end(NAMED, 20)
    // It was asked for before.
    for (const askedAt of [15, 20]) restricted.show(NAMED, askedAt)
    expect([await restricted.isShown(NAMED), await start().isShown(NAMED)]).toEqual([false, false])
    restricted.show(NAMED, 21)
    await yieldToEventLoop()
    expect([await restricted.isShown(NAMED), await start().isShown(NAMED)]).toEqual([true, true])
    // In doubt it ends: a refusal may have been asked for before, and come later.
    await restricted.end(NAMED, 12)
    expect([await restricted.isShown(NAMED), await start().isShown(NAMED)]).toEqual([false, false])
  })

  it('is not shown without the rule, or while nothing of restricted repos is stored', async () => {
    const { restricted, start, settings } = scene()
    restricted.show(NAMED, 10)
    await yieldToEventLoop()
    expect([await start().isShown(NAMED), await start(false).isShown(NAMED)]).toEqual([true, false])
    settings.policies = []
    expect([await restricted.isShown(NAMED), await start().isShown(NAMED)]).toEqual([false, false])
  })

  it('is on the disk before its facts, which are no facts of a public repo', async () => {
    const { restricted, metadata, disk, changes } = scene()
    keepAll(restricted)
    keepAll(restricted, OTHER)
    keepAll(restricted, repo('acme/secret', 'dataset'))
    await yieldToEventLoop()
    expect(changes[0]).toBe(`repos restricted:${ORIGIN} models/acme/secret`)
    expect(disk.get(changes[0] ?? '')).toEqual({ shown: false })
    expect(disk.size).toBe(6)
    expect([...disk.keys()].every((name) => name.includes(`restricted:${ORIGIN} `))).toBe(true)
    expect(await restricted.files.get(NAMED, COMMIT, 'config.json')).toMatchObject({ kind: 'absent' })
    expect(await metadata.files.get(NAMED, COMMIT, 'config.json')).toBeUndefined()
    expect(await metadata.refs.get(NAMED, 'main', 1e9)).toBeUndefined()
    expect(await metadata.documents.get('GET /api/models/acme/secret/tree/main')).toBeUndefined()
    expect(await metadata.repos.wasPublic(NAMED)).toBe(false)
    for await (const each of metadata.repos.listPublic()) expect(each).toBeUndefined()
  })

  it('leaves nothing on the disk when the rule goes, and the repo itself last', async () => {
    const { restricted, metadata, disk, changes, settings, start } = scene()
    restricted.show(NAMED, 10)
    keepAll(restricted)
    await metadata.repos.setPublic(OTHER, true)
    await yieldToEventLoop()
    expect(await restricted.removeUnnamed(never)).toBe(0)
    settings.policies = []
    const ended = new AbortController()
    ended.abort()
    expect(await restricted.removeUnnamed(ended.signal)).toBe(0)
    expect(disk.size).toBeGreaterThan(2)
    expect(await start().removeUnnamed(never)).toBe(1)
    expect([...disk.keys()]).toEqual([`repos ${ORIGIN} models/acme/other`])
    expect(changes.at(-1)).toBe(`no repos restricted:${ORIGIN} models/acme/secret`)
  })

  it('is not shown to callers of a rule that comes back before all of it was removed', async () => {
    const { restricted, settings, start } = scene()
    restricted.show(NAMED, 10)
    keepAll(restricted)
    await yieldToEventLoop()
    const { policies } = settings
    settings.policies = []
    const ended = new AbortController()
    ended.abort()
    await restricted.removeUnnamed(ended.signal)
    settings.policies = policies
    expect([await restricted.isShown(NAMED), await start().isShown(NAMED)]).toEqual([false, false])
    restricted.show(NAMED, 101)
    expect(await restricted.isShown(NAMED)).toBe(true)
  })

  it('costs the disk nothing if nothing of it is kept', async () => {
    const { restricted, disk } = scene()
    await restricted.end(NAMED, 10)
    await restricted.end(OTHER, 10)
    restricted.show(OTHER, 20)
    await yieldToEventLoop()
    expect(disk.size).toBe(0)
  })
})

it('when the Hub was asked for a document says nothing of one that was removed, nor of one that a bundle brings in its place', () => {
  const { metadata, restricted, invalidations } = scene()
  const name = 'GET /api/models/acme/secret/tree/main'
  metadata.documents.set(name, DOCUMENT, 1)
  restricted.documents.set(name, DOCUMENT, 1)
  const askedAt = () => [metadata.documents.askedAt(name), restricted.documents.askedAt(name)]
  expect(askedAt()).toEqual([1, 1])
  invalidations.invalidate('removed')
  expect(askedAt()).toEqual([undefined, undefined])
})
