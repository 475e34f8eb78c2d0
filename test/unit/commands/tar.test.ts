// The tar format of bundles: what is written can be read, and what bundles do not have is refused.

import { describe, expect, it } from 'vitest'
import { BadArchive, readTar, tarEnd, tarHeader, tarPadding } from '../../../src/commands/bundle/tar.ts'

const member = (name: string, bytes: Buffer): Buffer =>
  Buffer.concat([tarHeader(name, bytes.length), bytes, tarPadding(bytes.length)])

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield await Promise.resolve(bytes.subarray(at, at + size))
}

async function readAll(bytes: Buffer, size = 100): Promise<Record<string, string>> {
  const found: Record<string, string> = {}
  for await (const { name, bytes: pieces } of readTar(inPieces(bytes, size))) {
    const parts: Buffer[] = []
    for await (const piece of pieces) parts.push(piece)
    found[name] = Buffer.concat(parts).toString()
  }
  return found
}

/** Changes a header and corrects its checksum. */
function forged(header: Buffer, change: (bytes: Buffer) => void): Buffer {
  const bytes = Buffer.from(header)
  change(bytes)
  bytes.fill(0x20, 148, 156)
  const sum = bytes.reduce((total, byte) => total + byte, 0)
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return bytes
}

describe('the tar format', () => {
  it.each([1, 100, 512, 100_000])('is read in pieces of %i bytes as it was written', async (size) => {
    const files = {
      'bundle.json': '{}',
      'blobs/sha256/ab': 'x'.repeat(512),
      'blobs/sha256/cd': 'y'.repeat(513),
      'e.txt': '',
    }
    const parts = Object.entries(files).map(([name, text]) => member(name, Buffer.from(text)))
    expect(await readAll(Buffer.concat([...parts, tarEnd()]), size)).toEqual(files)
  })

  it('gives a size of 8 GiB or more in a pax header, and reads it', async () => {
    const sizeBytes = 9 * 1024 ** 3
    const header = tarHeader('blobs/sha256/ab', sizeBytes)
    expect(header.length).toBe(3 * 512)
    const first = await readTar(inPieces(header, 512)).next()
    expect(first.value).toMatchObject({ name: 'blobs/sha256/ab', sizeBytes })
  })

  it('skips what was not taken of a member', async () => {
    const bytes = Buffer.concat([member('a', Buffer.alloc(5000)), member('b', Buffer.from('b')), tarEnd()])
    const names: string[] = []
    for await (const { name } of readTar(inPieces(bytes, 700))) names.push(name)
    expect(names).toEqual(['a', 'b'])
  })

  const plain = tarHeader('a', 3)
  const body = Buffer.concat([Buffer.from('abc'), tarPadding(3)])
  it.each<readonly [string, Buffer]>([
    ['a symbolic link', forged(plain, (bytes) => bytes.write('2', 156))],
    ['a hard link', forged(plain, (bytes) => bytes.write('1', 156))],
    ['a device', forged(plain, (bytes) => bytes.write('3', 156))],
    ['a folder', forged(plain, (bytes) => bytes.write('5', 156))],
    ['a long name of GNU tar', forged(plain, (bytes) => bytes.write('L', 156))],
    ['an absolute name', forged(plain, (bytes) => bytes.write('/etc/passwd', 0))],
    ['a name that leads upwards', forged(plain, (bytes) => bytes.write('a/../../b', 0))],
    ['a name with a prefix', forged(plain, (bytes) => bytes.write('/etc', 345))],
    ['a size that is no number', forged(plain, (bytes) => bytes.write('99999999999', 124))],
    ['a size in base 256', forged(plain, (bytes) => bytes.writeUInt8(0x80, 124))],
    ['a wrong checksum', Buffer.concat([plain.subarray(0, 100), Buffer.from('1'), plain.subarray(101)])],
    ['another format', Buffer.alloc(512, 'x')],
    [
      'a pax header that would fill the memory',
      forged(tarHeader('pax', 2 ** 32), (bytes) => bytes.write('x', 156)),
    ],
  ])('refuses %s', async (_, header) => {
    await expect(readAll(Buffer.concat([header, body, tarEnd()]))).rejects.toThrow(BadArchive)
  })

  it('refuses a pax header with anything but one size', async () => {
    for (const record of [
      '12 path=abc\n',
      '16 size=12345678',
      '99 size=1\n',
      '13 size=00001\n',
      '10 size=1\n10 size=2\n',
    ]) {
      const text = Buffer.from(record)
      const pax = forged(tarHeader('pax', text.length), (bytes) => bytes.write('x', 156))
      const bytes = Buffer.concat([pax, text, tarPadding(text.length), plain, body, tarEnd()])
      await expect(readAll(bytes), record).rejects.toThrow('pax')
    }
  })

  it('refuses an archive that was cut at any block, or that something follows', async () => {
    const whole = Buffer.concat([member('a', Buffer.alloc(1000)), member('b', Buffer.from('b')), tarEnd()])
    for (let end = 0; end < whole.length - 1; end += 256)
      await expect(readAll(whole.subarray(0, end)), String(end)).rejects.toThrow('cut short')
    await expect(readAll(Buffer.concat([whole, plain]))).rejects.toThrow('follows the end')
    // As GNU tar pads it.
    expect(Object.keys(await readAll(Buffer.concat([whole, Buffer.alloc(10_240)])))).toEqual(['a', 'b'])
  })

  it('writes no name that it would not read', () => {
    for (const name of ['', '/a', '../a', 'A', 'a'.repeat(100), 'a b'])
      expect(() => tarHeader(name, 1)).toThrow('name')
  })
})
