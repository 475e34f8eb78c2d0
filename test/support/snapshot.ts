// A repo of many small files, and a client that takes a snapshot of it.

import { expect } from 'vitest'
import { lfs, type World } from '../hub-simulator/repos.ts'
import type { Question, Reply } from './ask.ts'
import { mirrorWorld } from './mirror-world.ts'
import type { Scene } from './scene.ts'

/** How many requests `snapshot` has under way at once. */
export const WORKERS = 8
/** The listings of a commit, as the simulated Hub sees them. */
export const TREE = /\/tree\//

/** A world with a repo of small files and one of LFS files. */
export function snapshotWorld(count: number): World {
  const world = mirrorWorld()
  world
    .dataset('acme/many')
    .commit(Object.fromEntries(names(count).map((name) => [name, `content of ${name}\n`])))
  world
    .model('acme/large')
    .commit(
      Object.fromEntries(names(12).map((name, seed) => [name, lfs({ sizeBytes: 90_000, seed: 900 + seed })])),
    )
  return world
}

/** The names of the files of a commit in the order of its listing. */
export function names(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `part-${String(index).padStart(5, '0')}.txt`)
}

/** Requests that are no redirects. */
export function answered(scene: Scene, url: RegExp = /./): readonly string[] {
  return scene.hub.ledger
    .requests({ url })
    .filter(({ status }) => status < 300 || status >= 400)
    .map(({ method, url: target }) => `${method} ${target}`)
}

/** HEAD and GET of each file, by some workers at once, as huggingface_hub does. */
export async function snapshot(
  scene: Scene,
  files: readonly string[],
  base: string,
  question: Question = {},
): Promise<readonly Reply[]> {
  const left = [...files]
  const replies: Reply[] = []
  const work = async (): Promise<void> => {
    for (let path = left.shift(); path !== undefined; path = left.shift()) {
      const head = await scene.ask(`${base}/${path}`, { ...question, method: 'HEAD' })
      const got = await scene.ask(`${base}/${path}`, question)
      expect([path, head.status, got.status, got.headers['etag']]).toEqual([
        path,
        200,
        200,
        head.headers['etag'],
      ])
      expect(got.body.length).toBe(Number(head.headers['content-length']))
      replies.push(got)
    }
  }
  await Promise.all(Array.from({ length: WORKERS }, work))
  return replies
}
