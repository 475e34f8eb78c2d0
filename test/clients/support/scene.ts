// A Hub, a mirror before it, and a place for the clients' files: made before each test, gone after it.
// Also the questions that every suite asks of the Hub's ledger.

import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect } from 'vitest'
import { readContent } from '../../hub-simulator/content.ts'
import type { LedgerEntry } from '../../hub-simulator/ledger.ts'
import type { RepoType, World } from '../../hub-simulator/repos.ts'
import { type Hub, type HubOptions, startHub } from '../../hub-simulator/server.ts'
import { type MirrorProcess, startMirrorProcess } from './mirror-process.ts'

/** What a test plays with. The fields are good between beforeEach and afterEach only. */
export interface Scene {
  readonly hub: Hub
  readonly mirror: MirrorProcess
  /** Kills the mirror without warning and starts another on its port and its cache directory. */
  readonly replaceMirror: () => Promise<void>
  /** Ends the mirror, which stores what it still has to, and starts another in its place with further settings. */
  readonly restartMirror: (env: Readonly<Record<string, string>>) => Promise<void>
  /** A new empty home for a client, so that it has cached nothing. Removed with the scene. */
  readonly newHome: () => Promise<string>
}

/** Sets the scene for each test of the surrounding suite. `world` is called once per test. */
export function useScene(
  world: () => World,
  options: { readonly env?: Readonly<Record<string, string>>; readonly hub?: HubOptions } = {},
): () => Scene {
  let scene: Scene | undefined
  let closing: (() => Promise<void>)[] = []

  beforeEach(async () => {
    const hub = await startHub({ world: world(), ...options.hub })
    closing.push(() => hub.close())
    const env = {
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname,
      ...options.env,
    }
    let mirror = await startMirrorProcess(env)
    const replaceMirror = async () => {
      await mirror.kill()
      mirror = await startMirrorProcess(env, mirror)
    }
    closing.push(async () => {
      const code = await mirror.stop()
      expect(code, mirror.log()).toBe(0)
    })
    const restartMirror = async (more: Readonly<Record<string, string>>) => {
      await mirror.end()
      mirror = await startMirrorProcess({ ...env, ...more }, mirror)
    }
    const newHome = async () => {
      const home = await mkdtemp(join(tmpdir(), 'hubmirror-home-'))
      closing.push(() => rm(home, { recursive: true, force: true }))
      return home
    }
    scene = {
      hub,
      get mirror() {
        return mirror
      },
      replaceMirror,
      restartMirror,
      newHome,
    }
  })

  afterEach(async () => {
    const steps = closing.toReversed()
    closing = []
    scene = undefined
    for (const step of steps) await step()
  })

  return () => {
    if (scene === undefined) throw new Error('the scene is set for tests only')
    return scene
  }
}

/** What a client should have after a snapshot: path to sha256 of the bytes. */
export function digestsOf(
  world: World,
  id: string,
  options: { readonly revision?: string; readonly type?: RepoType } = {},
): Record<string, string> {
  const repo = world.find(options.type ?? 'models', id)?.repo
  const commit = repo?.resolve(options.revision ?? 'main')
  if (commit === undefined) throw new Error(`no ${id}`)
  return Object.fromEntries(
    [...commit.files.values()].map((file) => [
      file.path,
      createHash('sha256').update(readContent(file.content)).digest('hex'),
    ]),
  )
}

/** The commit that a revision names. */
export function commitOf(world: World, id: string, revision = 'main'): string {
  const commit = world.find('models', id)?.repo.resolve(revision)
  if (commit === undefined) throw new Error(`no ${id} at ${revision}`)
  return commit.id
}

/** Requests for files, from any server and by any method. */
export function fileRequests(hub: Hub): readonly LedgerEntry[] {
  return hub.ledger.requests(({ server, url }) => server === 'cdn' || /\/(resolve|resolve-cache)\//.test(url))
}

/** Fails when a credential reached the CDN, or a client was led into Xet. */
export function expectManners(hub: Hub): void {
  const carried = hub.ledger.requests({ server: 'cdn' }).filter((entry) => entry.headers.authorization)
  expect(carried, 'credentials at the CDN').toEqual([])
  expect(hub.ledger.requests({ url: /xet-(read|write)-token/ }), 'requests for Xet tokens').toEqual([])
}
