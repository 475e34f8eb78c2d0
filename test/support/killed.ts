// Kills commands in the middle of their work, in rounds, and looks at what a store then shows. The moment depends on the bytes that
// the command has written.

import { cp, lstat, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises'
import { expect } from 'vitest'
import { lfs, World } from '../hub-simulator/repos.ts'
import { ask } from './ask.ts'
import { openSides } from './bundles.ts'
import { run, type start } from './run-cli.ts'
import type { Scene } from './scene.ts'
import { chance } from './seeded.ts'
import { checkStore, modelOf } from './store-check.ts'

const ROUNDS = 9
/** After so many rounds the command is run to its end. */
const KILLS_IN_A_ROW = 3

const LARGE_FILES = 5
const LARGE_BYTES = 1_200_000
const SMALL_FILES = 6
/** All large files of `acme/many`. */
const MANY_BYTES = LARGE_FILES * LARGE_BYTES

const PATHS: Readonly<Record<string, readonly string[]>> = {
  'acme/before': ['config.json', 'w.bin'],
  'acme/many': [
    ...Array.from({ length: LARGE_FILES }, (_, index) => `large-${index}.bin`),
    ...Array.from({ length: SMALL_FILES }, (_, index) => `small/${index}.json`),
  ],
}

/** A Hub with `acme/before`, which a test stores first, and `acme/many`, with which commands are killed. */
export function killedWorld(beforeBytes: number): World {
  const world = new World()
  for (const [id, paths] of Object.entries(PATHS))
    world.model(id).commit(
      Object.fromEntries(
        paths.map((path, index) => [
          path,
          path.endsWith('.bin')
            ? lfs({
                sizeBytes: id === 'acme/before' ? beforeBytes : LARGE_BYTES,
                seed: 700 + index + id.length * 100,
              })
            : `{"of":"${id}/${path}","text":"${'x'.repeat(2_000)}"}\n`,
        ]),
      ),
    )
  return world
}

/** The bytes that the files below a directory occupy on the disk; 0 if it is not there. */
export async function bytesBelow(directory: string, isMeant = (_name: string) => true): Promise<number> {
  const entries = await readdir(directory, { recursive: true }).catch(() => [])
  const sizes = entries.filter(isMeant).map(async (name) => {
    const found = await lstat(join(directory, name)).catch(() => undefined)
    return found?.isFile() === true ? found.blocks * 512 : 0
  })
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
}

/**
 * Starts a command again and again, kills something when the command has written a random number of bytes, and calls `check` with
 * whether the command had completed. After some of these rounds, `complete` must run it to its end, and reset what is there.
 */
export async function inRounds(
  what: string,
  round: {
    /** What the command has written since the last reset, in bytes. */
    readonly written: () => Promise<number>
    readonly begin: () => Promise<ReturnType<typeof start>>
    /** What is killed; by default the command. */
    readonly kill?: () => void
    readonly check: (result: Awaited<ReturnType<typeof run>>) => Promise<void>
    readonly complete: () => Promise<void>
  },
): Promise<void> {
  const dice = chance(what)
  let killed = 0
  for (let count = 1; count <= ROUNDS; count += 1) {
    const left = Math.min(await round.written(), MANY_BYTES - 1)
    // Some rounds try what follows the bytes. From there on the moment must depend on nothing that happens.
    const isLate = count % KILLS_IN_A_ROW === 0
    const [threshold, restMs] = isLate ? [MANY_BYTES, dice.below(80)] : [dice.below(MANY_BYTES, left), 0]
    const command = await round.begin()
    const isDue = async (): Promise<boolean> => {
      if ((await round.written()) <= threshold) return false
      await delay(restMs)
      return true
    }
    const result = await whenDue(command, isDue, round.kill ?? (() => command.child.kill('SIGKILL')))
    if (result.status !== 0) killed += 1
    await round.check(result)
    if (isLate || result.status === 0) await round.complete()
  }
  expect(killed, 'rounds in which the command did not complete').toBeGreaterThanOrEqual(ROUNDS / 2)
}

/** Waits until the command has done so much, or has ended, and then calls `kill`. Resolves when the command has ended. */
async function whenDue(
  { done }: ReturnType<typeof start>,
  isDue: () => Promise<boolean>,
  kill: () => void,
): ReturnType<typeof start>['done'] {
  const ended = new AbortController()
  const ending = done.finally(() => ended.abort())
  while (!ended.signal.aborted && !(await isDue())) await turn()
  kill()
  return ending
}

/**
 * Asks an offline mirror for all files. Those of `acme/before` must be there, and those of `acme/many` too if `isWhole`. Else all or
 * none of these are shown. No byte may be wrong.
 */
export async function expectServed(
  url: string,
  scene: Pick<Scene, 'bytes' | 'commit'>,
  { isWhole }: { readonly isWhole: boolean },
): Promise<void> {
  for (const [id, paths] of Object.entries(PATHS))
    for (const revision of ['main', scene.commit(id)]) {
      const info = await ask(url, `/api/models/${id}/revision/${revision}`)
      const isShown = info.status === 200
      if (isWhole || id === 'acme/before') expect([id, revision, info.status]).toEqual([id, revision, 200])
      const tree = await ask(url, `/api/models/${id}/tree/${revision}?recursive=true`)
      expect([id, revision, tree.status === 200]).toEqual([id, revision, isShown])
      if (isShown) {
        const listed = JSON.parse(tree.body.toString()) as { path: string; type: string }[]
        const files = listed.filter(({ type }) => type === 'file').map(({ path }) => path)
        expect(files.toSorted()).toEqual(paths.toSorted())
      }
      for (const path of paths) {
        const { status, body } = await ask(url, `/${id}/resolve/${revision}/${path}`)
        expect([path, revision, status === 200]).toEqual([path, revision, isShown])
        if (isShown) expect(body.equals(scene.bytes(id, path)), `${path} of ${revision}`).toBe(true)
      }
    }
}

/** A mirror serves all files of a repo. */
export async function expectFiles(url: string, scene: Pick<Scene, 'bytes'>, id: string): Promise<void> {
  for (const [path, bytes] of filesOf(scene, id)) {
    const { status, body } = await ask(url, `/${id}/resolve/main/${path}`)
    expect([path, status, body.equals(bytes)]).toEqual([path, 200, true])
  }
}

/** The right bytes of all files of the repo, by path. */
export function filesOf(scene: Pick<Scene, 'bytes'>, id: string): ReadonlyMap<string, Buffer> {
  return new Map(PATHS[id]?.map((path) => [path, scene.bytes(id, path)]))
}

/**
 * Opens both sides of an air gap. The mirror with the Hub has both repos. `store` is where that of the other side is, and `beforeBytes` the
 * size of the large file of `acme/before`.
 */
export async function openKilled(
  options: {
    readonly store?: string
    readonly env?: Readonly<Record<string, string>>
    readonly beforeBytes?: number
  } = {},
) {
  const { beforeBytes = LARGE_BYTES } = options
  const sides = await openSides(Object.keys(PATHS), { world: killedWorld(beforeBytes), ...options })
  const { scene, at, store, here, there } = sides
  const env = { HUBMIRROR_ORIGIN: scene.hub.url, HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2', ...options.env }
  const hereEnv = { ...env, HUBMIRROR_CACHE_DIR: scene.mirror.cacheDir }
  const thereEnv = { ...env, HUBMIRROR_CACHE_DIR: store, HUBMIRROR_OFFLINE: 'on' }
  const model = modelOf(Object.keys(PATHS).flatMap((id) => [...filesOf(scene, id).values()]))
  let before = 0
  return {
    ...sides,
    hereEnv,
    thereEnv,
    done: succeeds,
    /** Makes the store of the other side, with `acme/before`, and a copy of it. */
    async makeStore() {
      await succeeds(here('create', at('before.tar'), 'acme/before'))
      await succeeds(there('load', at('before.tar')))
      await cp(store, at('copy'), { recursive: true })
      before = await bytesBelow(store)
    },
    /** What that store has more than its copy, in bytes. */
    written: async () => (await bytesBelow(store)) - before,
    async resetStore() {
      await rm(store, { recursive: true })
      await cp(at('copy'), store, { recursive: true })
    },
    /** That store has no wrong byte, nothing unfinished if `isWhole`, and an offline mirror on it serves what it should. */
    async expectStore(isWhole: boolean) {
      const { partials } = await checkStore(store, model)
      if (isWhole) expect([...partials.keys()]).toEqual([])
      const mirror = await sides.openThere({ auditLog: { kind: 'file', path: at('audit.log') } })
      await expectServed(mirror.url, scene, { isWhole })
      await mirror.close({ keepDir: true })
    },
    /** That store has no wrong byte, and an offline mirror on it serves what was there before. */
    async expectBefore() {
      await checkStore(store, model)
      const mirror = await sides.openThere({ auditLog: { kind: 'file', path: at('audit.log') } })
      await expectFiles(mirror.url, scene, 'acme/before')
      await mirror.close({ keepDir: true })
    },
    expectVerified: () => expectVerified(thereEnv),
  }
}

/** A cache directory of huggingface_hub has all files of the repo, and the ref that points to them. */
export async function expectExported(
  scene: Pick<Scene, 'bytes' | 'commit'>,
  hub: string,
  id: string,
): Promise<void> {
  const folder = join(hub, `models--${id.replace('/', '--')}`)
  for (const [path, bytes] of filesOf(scene, id)) {
    const found = await readFile(join(folder, 'snapshots', scene.commit(id), path))
    expect(found.equals(bytes), path).toBe(true)
  }
  expect(await readFile(join(folder, 'refs/main'), 'utf8')).toBe(scene.commit(id))
}

async function succeeds(result: ReturnType<typeof run>): Promise<void> {
  expect(await result).toMatchObject({ status: 0 })
}

/** `verify` finds no damage in the store of these settings. */
export async function expectVerified(env: Readonly<Record<string, string>>): Promise<void> {
  const { status, stdout } = await run(['verify', '--restart'], env)
  expect([status, stdout]).toEqual([0, expect.stringContaining('no damage')])
}
