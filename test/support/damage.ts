// Damage to a file of the store, as a disk causes it by itself, rarely. Stored blobs are read-only, and an ordinary
// user who runs the tests has no right to write to them, so each function lifts that for a moment.

import { chmod, open, stat, truncate } from 'node:fs/promises'

/**
 * Flips one bit of the byte at `position`. Mode and times of the file stay, as with a disk that changes bits by itself.
 */
export async function flipBit(file: string, position: number): Promise<void> {
  const { atime, mtime } = await stat(file)
  await whileWritable(file, async () => {
    const handle = await open(file, 'r+')
    try {
      const byte = Buffer.alloc(1)
      await handle.read(byte, 0, 1, position)
      byte.writeUInt8(byte.readUInt8(0) ^ 0x10)
      await handle.write(byte, 0, 1, position)
      await handle.utimes(atime, mtime)
    } finally {
      await handle.close()
    }
  })
}

/** Cuts the file to its first `sizeBytes`, also while it is being read. */
export async function cutShort(file: string, sizeBytes: number): Promise<void> {
  await whileWritable(file, () => truncate(file, sizeBytes))
}

async function whileWritable(file: string, work: () => Promise<void>): Promise<void> {
  const { mode } = await stat(file)
  await chmod(file, 0o600)
  try {
    await work()
  } finally {
    await chmod(file, mode)
  }
}
