// A Hub and a mirror before it for one test, closed when the test is over: the mirror first, which proves that it
// left nothing behind, then the Hub.

import { onTestFinished } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { bytesOf, type RepoType, type World } from '../hub-simulator/repos.ts'
import { type Hub, type HubOptions, startHub } from '../hub-simulator/server.ts'
import { ask, type Question, type Reply } from './ask.ts'
import { type ManualClock, manualClock } from './clock.ts'
import { mirrorWorld } from './mirror-world.ts'
import { type MirrorOptions, type RunningMirror, removeStore, startMirror, whenIdle } from './start-mirror.ts'

export interface Scene {
  readonly hub: Hub
  readonly world: World
  /** The mirror's monotonic clock: what is fresh stays fresh until a test moves it. */
  readonly clock: ManualClock
  readonly mirror: RunningMirror
  /** Asks the mirror. */
  ask(target: string, question?: Question): Promise<Reply>
  /** Waits until no pull is under way, so that what was fetched is a blob. */
  settled(): Promise<void>
  /** A second mirror before the same Hub, closed with the scene. */
  another(options?: Partial<MirrorOptions>): Promise<RunningMirror>
  /** Closes the mirror and starts it on the same directory, perhaps with other settings. */
  restart(config?: Partial<Config>): Promise<void>
  /** The bytes a file should have. */
  bytes(id: string, path: string, options?: { readonly revision?: string; readonly type?: RepoType }): Buffer
  commit(id: string, revision?: string): string
}

/** `busy` says that pulls may still run at the end of the test. */
export interface SceneOptions {
  readonly config?: Partial<Config>
  readonly hub?: HubOptions
  readonly world?: World
  readonly busy?: boolean
  readonly mirror?: Pick<MirrorOptions, 'now' | 'cacheDir'>
}

/** Opens the scene of the running test. */
export async function openScene(options: SceneOptions = {}): Promise<Scene> {
  const world = options.world ?? mirrorWorld()
  const hub = await startHub({ world, ...options.hub })
  onTestFinished(() => hub.close())
  const stores = new Set<string>()
  // A test may close its mirror with `keepDir`, to look at the store. The hooks run last to first.
  onTestFinished(async () => {
    for (const store of stores) await removeStore(store)
  })
  const clock = manualClock()
  const start = async (more: Partial<MirrorOptions> = {}): Promise<RunningMirror> => {
    const started = await startMirror({
      hub,
      monotonic: clock.now,
      ...options.mirror,
      ...more,
      config: { ...options.config, ...more.config },
    })
    stores.add(started.cacheDir)
    onTestFinished(() => started.close({ busy: options.busy === true }))
    return started
  }
  let mirror = await start()
  return {
    hub,
    world,
    clock,
    get mirror() {
      return mirror
    },
    ask: (target, question) => ask(mirror.url, target, question),
    async settled() {
      await whenIdle(() => mirror.metrics())
    },
    another: start,
    async restart(config = {}) {
      await mirror.close({ keepDir: true })
      mirror = await start({ cacheDir: mirror.cacheDir, config })
    },
    bytes(id, path, { revision = 'main', type = 'models' } = {}) {
      const repo = world.find(type, id)?.repo
      if (repo === undefined) throw new Error(`no ${id}`)
      return bytesOf(repo, revision, path)
    },
    commit(id, revision = 'main') {
      const commit = world.find('models', id)?.repo.resolve(revision)
      if (commit === undefined) throw new Error(`no ${id} at ${revision}`)
      return commit.id
    },
  }
}
