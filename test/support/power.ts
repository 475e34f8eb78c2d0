// A file system on a device whose power can be cut: bytes that were not synced are lost, as on a machine without power.
// Needs root, a loop device and xfs_io, and reports on the terminal if one of them is refused.

import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { skippedFor } from './absent.ts'

const run = promisify(execFile)

/** The kinds of file system that are tested; the commit protocol must hold on each. */
export type DiskKind = 'ext4' | 'xfs'

/** How one is made and mounted. If possible, the kernel syncs nothing by itself while a test runs. */
const KINDS = {
  ext4: { make: ['mkfs.ext4', '-q', '-F'], options: 'loop,commit=3600', leastMiB: 16 },
  // Its tools make no smaller one. Unused space takes none on the disk.
  xfs: { make: ['mkfs.xfs', '-q', '-f'], options: 'loop', leastMiB: 320 },
} as const

export interface PoweredDisk {
  readonly directory: string
  /** From now on the device accepts no writes, and the journal in memory is lost. */
  cut(): Promise<void>
  /** Mounts it as after a reboot. No process may have a file open there. */
  reboot(): Promise<void>
  /** Makes the kernel write its dirty pages, as it does by itself every few seconds. */
  writeBack(): Promise<void>
  remove(): Promise<void>
}

/** Why no power can be cut here; undefined if it can. */
export async function whyNoPower(kind: DiskKind = 'ext4'): Promise<string | undefined> {
  try {
    const disk = await mountPowered(16, kind)
    try {
      const unsynced = join(disk.directory, 'unsynced')
      await writeFile(unsynced, 'never synced')
      await disk.cut()
      await disk.reboot()
      // A cut that loses nothing would prove nothing.
      const left = await readFile(unsynced, 'utf8').catch(() => '')
      if (left !== '') throw new Error('what was not synced survives the cut')
    } finally {
      await disk.remove()
    }
    return undefined
  } catch (error) {
    return skippedFor(`power cuts, which need root, a loop device, mkfs.${kind} and xfs_io`, error)
  }
}

/** Makes one of at least this many MiB in a file and mounts it. Rejects without the right or the tools. */
export async function mountPowered(sizeMiB: number, kind: DiskKind = 'ext4'): Promise<PoweredDisk> {
  const { make, options, leastMiB } = KINDS[kind]
  const [tool, ...flags] = make
  const base = await mkdtemp(join(tmpdir(), 'hubmirror-power-'))
  const image = join(base, 'image')
  const directory = join(base, 'mounted')
  const mount = () => run('mount', ['-o', options, image, directory])
  try {
    await mkdir(directory)
    await writeFile(image, '')
    await truncate(image, Math.max(sizeMiB, leastMiB) * 1024 * 1024)
    await run(tool, [...flags, image])
    await mount()
  } catch (error) {
    await rm(base, { recursive: true, force: true })
    throw error
  }
  return {
    directory,
    async cut() {
      await run('xfs_io', ['-x', '-c', 'shutdown', directory])
    },
    async reboot() {
      await run('umount', [directory])
      await mount()
    },
    async writeBack() {
      await run('sync', ['-f', directory])
    },
    async remove() {
      await run('umount', ['-l', directory]).catch(() => undefined)
      await rm(base, { recursive: true, force: true })
    },
  }
}
