// `hubmirror export` on a file system that can clone files: the bytes of the store are not written a second time, and a later write
// to the exported file does not reach the store.

import { execFile } from 'node:child_process'
import { chmod, mkdtemp, readdir, readFile, rm, statfs, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it, onTestFinished } from 'vitest'
import { lfs, World } from '../hub-simulator/repos.ts'
import { startHub } from '../hub-simulator/server.ts'
import { run } from '../support/run-cli.ts'

const call = promisify(execFile)
const FILE_BYTES = 64_000_000
/** mkfs.xfs makes none that is smaller than 300 MB. The file has holes. */
const VOLUME_BYTES = 512 * 1024 * 1024

/** Mounts an XFS in a file. Rejects without the right, the tools or the module of the kernel. The caller must call `unmount`. */
async function mountXfs(): Promise<{ readonly directory: string; readonly unmount: () => Promise<void> }> {
  const folder = await mkdtemp(join(tmpdir(), 'hubmirror-xfs-'))
  const [image, directory] = [join(folder, 'image'), await mkdtemp(join(folder, 'volume-'))]
  const unmount = async (): Promise<void> => {
    await call('umount', ['-l', directory]).catch(() => undefined)
    await rm(folder, { recursive: true, force: true })
  }
  try {
    await writeFile(image, '')
    await truncate(image, VOLUME_BYTES)
    await call('mkfs.xfs', ['-q', '-m', 'reflink=1', image])
    await call('mount', ['-t', 'xfs', '-o', 'loop', image, directory])
    return { directory, unmount }
  } catch (error) {
    await unmount()
    throw error
  }
}

const why = await mountXfs().then(
  ({ unmount }) => unmount(),
  (error: unknown) => String(error).trim(),
)
// xfsprogs is not on every machine of the CI, and the file system is a matter of its kernel.
if (why !== undefined) console.warn(`SKIPPED: clones of files, which need root and XFS (${why})`)

it.skipIf(why !== undefined)(
  'export clones what the store has, and a write to the clone stays there',
  async () => {
    const world = new World()
    world.model('acme/open').commit({ 'w.bin': lfs({ sizeBytes: FILE_BYTES, seed: 90 }) })
    const hub = await startHub({ world })
    onTestFinished(() => hub.close())
    const { directory, unmount } = await mountXfs()
    onTestFinished(unmount)
    const env = {
      HUBMIRROR_CACHE_DIR: join(directory, 'store'),
      HUBMIRROR_CACHE_MIN_FREE: '0B',
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
    }
    const usedBytes = async (): Promise<number> => {
      await call('sync', ['-f', directory])
      const { blocks, bfree, bsize } = await statfs(directory)
      return (blocks - bfree) * bsize
    }
    const expectDone = async (...args: readonly string[]): Promise<void> =>
      expect(await run(args, env)).toMatchObject({ status: 0 })
    await expectDone('prefetch', 'acme/open')
    const before = await usedBytes()
    expect(before).toBeGreaterThan(FILE_BYTES)
    const hubCache = join(directory, 'hub')
    await expectDone('export', 'acme/open', hubCache)
    expect((await usedBytes()) - before).toBeLessThan(FILE_BYTES / 4)

    const blobs = join(hubCache, 'models--acme--open/blobs')
    const [name = ''] = await readdir(blobs)
    const clone = join(blobs, name)
    expect((await readFile(clone)).length).toBe(FILE_BYTES)
    await chmod(clone, 0o644)
    await writeFile(clone, 'mine')
    const verified = await run(['verify', '--restart'], env)
    expect([verified.status, verified.stdout]).toEqual([0, expect.stringContaining('no damage')])
  },
)
