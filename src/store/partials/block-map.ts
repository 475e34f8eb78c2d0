// The file that records which blocks of a partial have landed. It is written only after the data is durable, so a map that
// reads back whole is true. Anything else counts as no map.

import { constants } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { errorCode, isMissing, writeAtomic } from '../atomic.ts'
import { BlockMap } from './blocks.ts'

// 'HMBM' | version u32 | size u64 | block bytes u32 | bit bytes u32 | bits … | crc32 of all before, u32. Big-endian.
const MAGIC = 0x484d424d
const VERSION = 1
const HEAD_BYTES = 24

/** Makes `map` the recorded state, durably. The caller must have synced the data. Rejects with the error of the disk. */
export async function writeBlockMap(tmpDirectory: string, file: string, map: BlockMap): Promise<void> {
  const bits = map.bits()
  const buffer = Buffer.alloc(HEAD_BYTES + bits.length + 4)
  buffer.writeUInt32BE(MAGIC, 0)
  buffer.writeUInt32BE(VERSION, 4)
  buffer.writeBigUInt64BE(BigInt(map.sizeBytes), 8)
  buffer.writeUInt32BE(map.blockBytes, 16)
  buffer.writeUInt32BE(bits.length, 20)
  buffer.set(bits, HEAD_BYTES)
  buffer.writeUInt32BE(crc32(buffer.subarray(0, -4)), buffer.length - 4)
  await writeAtomic(tmpDirectory, file, buffer, { durable: true })
}

/**
 * The recorded map. Undefined when there is none, when it is damaged, or when it belongs to a file of another size. Rejects
 * with any other error of the disk.
 */
export async function readBlockMap(file: string, sizeBytes: number): Promise<BlockMap | undefined> {
  let buffer: Buffer
  try {
    buffer = await readFile(file, { flag: constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK })
  } catch (error) {
    if (isMissing(error) || errorCode(error) === 'ELOOP') return undefined
    throw error
  }
  if (buffer.length < HEAD_BYTES + 4) return undefined
  if (buffer.readUInt32BE(0) !== MAGIC || buffer.readUInt32BE(4) !== VERSION) return undefined
  if (crc32(buffer.subarray(0, -4)) !== buffer.readUInt32BE(buffer.length - 4)) return undefined
  const blockBytes = buffer.readUInt32BE(16)
  const bitBytes = buffer.readUInt32BE(20)
  if (buffer.readBigUInt64BE(8) !== BigInt(sizeBytes) || blockBytes === 0) return undefined
  if (bitBytes !== buffer.length - HEAD_BYTES - 4) return undefined
  return new BlockMap(sizeBytes, blockBytes, buffer.subarray(HEAD_BYTES, HEAD_BYTES + bitBytes))
}
