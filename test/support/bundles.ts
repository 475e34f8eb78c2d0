// Two sides of an air gap for a test: a mirror that has fetched repos, and a folder for the bundle and the other store.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { openBeside, prefetchBy } from './prefetch.ts'
import { run } from './run-cli.ts'
import type { Scene, SceneOptions } from './scene.ts'
import type { RunningMirror } from './start-mirror.ts'

export interface Sides {
  readonly scene: Scene & { readonly socket: string }
  /** A folder that is removed with the test. */
  readonly folder: string
  /** A path in the folder. */
  readonly at: (name: string) => string
  /** The store of the other side. */
  readonly store: string
  /** Runs `bundle` with the settings of the side that has the Hub. */
  readonly here: (...args: readonly string[]) => ReturnType<typeof run>
  /** Runs it with those of the other side. */
  readonly there: (...args: readonly string[]) => ReturnType<typeof run>
  /** Starts an offline mirror on the store of the other side. */
  readonly openThere: (config?: Partial<Config>) => Promise<RunningMirror>
}

/** Opens both sides, the first with these repos. */
export async function openSides(
  repos: readonly string[],
  options: SceneOptions & {
    readonly token?: string
    readonly env?: Readonly<Record<string, string>>
    /** Where the store of the other side is; by default in the folder. */
    readonly store?: string
  } = {},
): Promise<Sides> {
  const scene = await openBeside(options)
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-gap-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const { token } = options
  const results = await prefetchBy(scene.socket, repos, token === undefined ? {} : { token })
  for (const { files } of results) expect(files.filter(({ state }) => state === 'missing')).toEqual([])
  const env = { HUBMIRROR_ORIGIN: scene.hub.url, ...options.env }
  const at = (name: string): string => join(folder, name)
  const store = options.store ?? at('store')
  return {
    scene,
    folder,
    at,
    store,
    here: (...args) => run(['bundle', ...args], { ...env, HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir }),
    there: (...args) =>
      run(['bundle', ...args], { ...env, HUBMIRROR_CACHE_DIR: store, HUBMIRROR_OFFLINE: 'on' }),
    openThere: (config = {}) => scene.another({ cacheDir: store, config: { offline: true, ...config } }),
  }
}
