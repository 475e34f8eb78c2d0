// A small file system of its own, to be filled up or made read-only. Needs root, and reports on the terminal if that is
// missing.

import { execFile } from 'node:child_process'
import { mkdtemp, rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { skippedFor } from './absent.ts'

const run = promisify(execFile)

export interface SmallDisk {
  readonly directory: string
  /** Mounts a read-only copy over it, or unmounts that. Nothing that is written meanwhile is lost, since nothing is. */
  readOnly(on: boolean): Promise<void>
  /** Changes its size, so that this many bytes are free: whole pages of 4 KiB. */
  leaveFree(sizeBytes: number): Promise<void>
  usedBytes(): Promise<number>
  /** Ends it, even if files are still open there. */
  unmount(): Promise<void>
}

/** Why there can be no small disk here; undefined if there can. */
export async function whyNoDisk(): Promise<string | undefined> {
  try {
    await (await mountDisk(1)).unmount()
    return undefined
  } catch (error) {
    return skippedFor('faults of the disk, which need root to mount a tmpfs', error)
  }
}

/** Mounts a tmpfs of this many MiB in a fresh directory. Rejects without the right. */
export async function mountDisk(sizeMiB: number): Promise<SmallDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'hubmirror-disk-'))
  const copies: string[] = []
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m,mode=0700`, 'tmpfs', directory])
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
  const usedBytes = async (): Promise<number> => {
    const { blocks, bfree, bsize } = await statfs(directory)
    return (blocks - bfree) * bsize
  }
  return {
    directory,
    usedBytes,
    async leaveFree(sizeBytes) {
      // What is written meanwhile may need more than the new size, which is refused then.
      for (let tries = 1; ; tries += 1) {
        // A file system of size 0 would have no limit.
        const size = Math.max(4096, (await usedBytes()) + sizeBytes)
        const failed = await run('mount', ['-o', `remount,size=${size}`, directory]).then(
          () => undefined,
          (error: unknown) => ({ error }),
        )
        if (failed === undefined) return
        if (tries === 50) throw failed.error
      }
    },
    async readOnly(on) {
      if (!on) {
        await run('umount', ['-l', directory])
        return
      }
      // Files that are open for writing keep a file system from being remounted. A copy on top of it has none.
      const copy = await mkdtemp(join(tmpdir(), 'hubmirror-copy-'))
      await run('cp', ['-a', `${directory}/.`, copy])
      await run('mount', ['--bind', copy, directory])
      await run('mount', ['-o', 'remount,bind,ro', directory])
      copies.push(copy)
    },
    async unmount() {
      // Lazily: an open descriptor keeps the file system, not the mount point. A read-only layer is unmounted first.
      while ((await run('umount', ['-l', directory]).catch(() => undefined)) !== undefined);
      for (const each of [directory, ...copies]) await rm(each, { recursive: true, force: true })
    },
  }
}
