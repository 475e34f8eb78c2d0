// A Hub, a mirror before it, and a place for the clients' files: made before each test or once for all tests of a suite.
// Also the questions that every suite asks of the Hub's ledger.

import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { readContent } from '../../hub-simulator/content.ts'
import type { LedgerEntry } from '../../hub-simulator/ledger.ts'
import type { RepoType, World } from '../../hub-simulator/repos.ts'
import { type Hub, type HubOptions, startHub } from '../../hub-simulator/server.ts'
import { type MirrorProcess, startMirrorProcess } from './mirror-process.ts'

/** What a test plays with. The fields are good in tests only. */
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

interface Options {
  /** Settings of the mirror. */
  readonly env?: Readonly<Record<string, string>>
  readonly hub?: HubOptions
  /** Whether the mirror asks the datasets-server of the Hub, which has an address of its own. */
  readonly asksDatasetsServer?: boolean
}

/** Sets the scene for each test of the surrounding suite. `world` is called once per test. */
export function useScene(world: () => World, options: Options = {}): () => Scene {
  let opened: Opened | undefined
  beforeEach(async () => {
    opened = await openScene(world(), options)
  })
  afterEach(async () => {
    const closing = opened
    opened = undefined
    await closing?.close()
  })
  return () => sceneOf(opened)
}

/**
 * Sets one scene for all tests of the surrounding suite, for which no second mirror has to start. Each test finds a Hub that
 * answers, without faults and with an empty ledger, and a mirror that has stored what the tests before it have asked for.
 */
export function useSharedScene(world: () => World, options: Options = {}): () => Scene {
  let opened: Opened | undefined
  beforeAll(async () => {
    opened = await openScene(world(), options)
  })
  beforeEach(() => sceneOf(opened).hub.ledger.clear())
  afterEach(async () => {
    const { hub } = sceneOf(opened)
    hub.faults.clear()
    hub.bytesPerSecond = undefined
    await hub.start()
  })
  afterAll(() => opened?.close())
  return () => sceneOf(opened)
}

interface Opened {
  readonly scene: Scene
  close(): Promise<void>
}

function sceneOf(opened: Opened | undefined): Scene {
  if (opened === undefined) throw new Error('the scene is set for tests only')
  return opened.scene
}

async function openScene(world: World, options: Options): Promise<Opened> {
  const closing: (() => Promise<void>)[] = []
  const close = async () => {
    for (const step of closing.toReversed()) await step()
  }
  const hub = await startHub({ world, ...options.hub })
  closing.push(() => hub.close())
  const env = {
    HUBMIRROR_ORIGIN: hub.url,
    HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname,
    ...(options.asksDatasetsServer === true ? { HUBMIRROR_DATASETS_SERVER: hub.datasetsServerUrl } : {}),
    ...options.env,
  }
  let mirror = await startMirrorProcess(env).catch(async (error: unknown) => {
    await close()
    throw error
  })
  closing.push(async () => {
    const code = await mirror.stop()
    expect(code, mirror.log()).toBe(0)
  })
  const scene: Scene = {
    hub,
    get mirror() {
      return mirror
    },
    async replaceMirror() {
      await mirror.kill()
      mirror = await startMirrorProcess(env, mirror)
    },
    async restartMirror(more) {
      await mirror.end()
      mirror = await startMirrorProcess({ ...env, ...more }, mirror)
    },
    async newHome() {
      const home = await mkdtemp(join(tmpdir(), 'hubmirror-home-'))
      closing.push(() => rm(home, { recursive: true, force: true }))
      return home
    },
  }
  return { scene, close }
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
