// A small file system of its own, to be filled up or made read-only. Needs root; says so loudly where it is not.

import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { skippedFor } from './absent.ts'

const run = promisify(execFile)

export interface SmallDisk {
  readonly directory: string
  /** Lays a read-only copy over it, or takes that away: nothing written meanwhile is lost, for there is none. */
  readOnly(on: boolean): Promise<void>
  /** Ends it, even if files are still open there. */
  unmount(): Promise<void>
}

/** Why there can be no small disk here; undefined where there can. */
export async function whyNoDisk(): Promise<string | undefined> {
  try {
    await (await mountDisk(1)).unmount()
    return undefined
  } catch (error) {
    return skippedFor('faults of the disk, which need root to mount a tmpfs', error)
  }
}

/** Mounts a tmpfs of so many MiB in a fresh directory. Rejects without the right to. */
export async function mountDisk(sizeMiB: number): Promise<SmallDisk> {
  const directory = await mkdtemp(join(tmpdir(), 'hubmirror-disk-'))
  const copies: string[] = []
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m,mode=0700`, 'tmpfs', directory])
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
  return {
    directory,
    async readOnly(on) {
      if (!on) {
        await run('umount', ['-l', directory])
        return
      }
      // Files that are open for writing keep a file system from being remounted; a copy on top of it has none.
      const copy = await mkdtemp(join(tmpdir(), 'hubmirror-copy-'))
      await run('cp', ['-a', `${directory}/.`, copy])
      await run('mount', ['--bind', copy, directory])
      await run('mount', ['-o', 'remount,bind,ro', directory])
      copies.push(copy)
    },
    async unmount() {
      // Lazily: a descriptor that is still open keeps the file system, not the place. A read-only layer goes first.
      while ((await run('umount', ['-l', directory]).catch(() => undefined)) !== undefined);
      for (const each of [directory, ...copies]) await rm(each, { recursive: true, force: true })
    },
  }
}
