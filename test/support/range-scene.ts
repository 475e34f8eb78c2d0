// A scene with one large stored file, for the tests of cached ranges.

import { createHash } from 'node:crypto'
import { stat } from 'node:fs/promises'
import { expect, onTestFinished, vi } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { OpenFile } from '../../src/store/blobs/open-files.ts'
import type { BlobKey } from '../../src/store/digest.ts'
import { createLayout } from '../../src/store/layout.ts'
import { lfs } from '../hub-simulator/repos.ts'
import { cachedScene } from './cached-scene.ts'
import { eventually } from './eventually.ts'
import { openFilesBelow } from './fd.ts'
import { metricValue } from './start-mirror.ts'

export const SIZE = 1_000_000
export const REPO = 'acme/parts'
export const BRANCH = `/${REPO}/resolve/main/w.bin`
export const SMALL = Buffer.from('{"small":true,"but":"of some bytes"}\n')
export const KIB = 1024

export async function rangeScene(config: Partial<Config> = {}) {
  const scene = await cachedScene(config)
  scene.world.model(REPO).commit({ 'w.bin': lfs({ sizeBytes: SIZE, seed: 9 }), 'c.json': SMALL.toString() })
  const bytes = scene.bytes(REPO, 'w.bin')
  const key: BlobKey = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
  const { mirror } = scene
  const blob = createLayout(mirror.cacheDir).blob(key)
  const part = (first: number, last: number) => ({ headers: { range: `bytes=${first}-${last}` } })
  await scene.ask(BRANCH)
  await scene.settled()
  return {
    ...scene,
    pinned: BRANCH.replace('main', scene.commit(REPO)),
    bytes,
    key,
    blob,
    part,
    /** Asks for a part until its response is cached, and compares it with the bytes. */
    async warmPart(first: number, last: number, target = BRANCH) {
      const reply = await scene.warm(target, part(first, last))
      expect([reply.status, reply.body.equals(bytes.subarray(first, last + 1))]).toEqual([206, true])
      return reply
    },
    /** Waits until no blob is open. */
    closed: () =>
      eventually(
        () => openFilesBelow(`${mirror.cacheDir}/blobs`),
        (open) => open.length === 0,
      ),
    stays: () =>
      stat(blob).then(
        () => true,
        () => false,
      ),
    failures: async () =>
      metricValue(await mirror.metrics(), 'hubmirror_integrity_failures_total{kind="disk"}') ?? 0,
  }
}

/** The next read of a stored file: begun when `begun` resolves, over when `release` is called. */
export function heldRead() {
  let release = (): void => {}
  let begin = (): void => {}
  const begun = new Promise<void>((resolve) => (begin = resolve))
  const reading = vi.spyOn(OpenFile.prototype, 'read')
  onTestFinished(() => reading.mockRestore())
  reading.mockImplementationOnce(async function (this: OpenFile, ...args) {
    begin()
    await new Promise<void>((resolve) => (release = resolve))
    return this.read(...args)
  })
  return { begun, release: () => release() }
}
