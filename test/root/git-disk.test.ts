// A disk that fills up while the mirror fetches a git repository.

import { randomBytes } from 'node:crypto'
import { open, readdir, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { eventually } from '../support/eventually.ts'
import { gitClient, hasGit, storedGits, whenStored } from '../support/git-client.ts'
import { metricValue, startMirror } from '../support/start-mirror.ts'
import { mountDisk, whyNoDisk } from '../support/tmpfs.ts'

const noDisk = await whyNoDisk()

/** Takes every byte that is left. */
async function fillUp(directory: string): Promise<() => Promise<void>> {
  const ballast = join(directory, 'ballast')
  const handle = await open(ballast, 'w')
  for (const sizeBytes of [1024 * 1024, 4096, 1]) {
    const piece = Buffer.alloc(sizeBytes)
    for (;;) {
      const written = await handle.write(piece).catch(() => undefined)
      if (written === undefined || written.bytesWritten < sizeBytes) break
    }
  }
  await handle.close()
  return () => unlink(ballast)
}

describe.skipIf(noDisk !== undefined || !hasGit)(
  'a disk that is full in the middle of a fetch of git',
  () => {
    it('costs no client anything, leaves nothing behind, and is used again when there is space', async () => {
      const world = new World()
      const commit = world.model('acme/large').commit({ 'large.txt': randomBytes(3_000_000) })
      const hub = await startHub({ world })
      onTestFinished(() => hub.close())
      const disk = await mountDisk(32)
      onTestFinished(() => disk.unmount())
      const cacheDir = join(disk.directory, 'cache')
      const mirror = await startMirror({ hub, cacheDir, config: { cacheMinFreeBytes: 0, refTtlMs: 0 } })
      onTestFinished(() => mirror.close())
      const client = await gitClient()
      // The mirror asks without `.git`, and the client of this test with it.
      const own = /^\/acme\/large\/git-upload-pack/
      hub.faults.add({ where: 'hub', match: own, method: 'POST', skip: 1, stallAfterBytes: 1_000_000 })
      const url = `${mirror.url}/acme/large.git`
      await client.ok(['clone', '--quiet', url, 'first'])
      await hub.faults.whenStalled()
      const free = await fillUp(disk.directory)
      hub.faults.clear()
      const [line = ''] = await eventually(
        () => mirror.logLines('could not be kept'),
        (lines) => lines.length > 0,
      )
      expect(line).toMatch(/No space left on device|there is no room for it/)
      expect([await storedGits(cacheDir), await readdir(join(cacheDir, 'tmp'))]).toEqual([[], []])
      // The disk is still full.
      await client.ok(['clone', '--quiet', url, 'second'])
      expect(await client.ok(['rev-parse', 'HEAD'], 'second')).toBe(commit)
      await eventually(
        async () => metricValue(await mirror.metrics(), 'hubmirror_git_fetches_total{result="failed"}'),
        (count) => (count ?? 0) >= 1,
      )

      await free()
      await client.ok(['clone', '--quiet', url, 'third'])
      await whenStored(cacheDir)
      await hub.stop()
      await client.ok(['clone', '--quiet', url, 'away'])
      expect(await client.ok(['rev-parse', 'HEAD'], 'away')).toBe(commit)
    })
  },
)
