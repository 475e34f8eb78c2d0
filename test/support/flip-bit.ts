// What a disk does by itself, rarely. Knows nothing of what the file is.

import { chmod, open, stat } from 'node:fs/promises'

/** Flips one bit of the byte at `position`; mode and times of the file stay, as they do when a disk forgets. */
export async function flipBit(file: string, position: number): Promise<void> {
  const { mode, atime, mtime } = await stat(file)
  await chmod(file, 0o600)
  const handle = await open(file, 'r+')
  try {
    const byte = Buffer.alloc(1)
    await handle.read(byte, 0, 1, position)
    byte.writeUInt8(byte.readUInt8(0) ^ 0x10)
    await handle.write(byte, 0, 1, position)
    await handle.utimes(atime, mtime)
  } finally {
    await handle.close()
    await chmod(file, mode)
  }
}
