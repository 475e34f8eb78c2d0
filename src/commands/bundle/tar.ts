// The part of the tar format that bundles use: regular files with short names (POSIX ustar), and a pax record for a size of
// 8 GiB or more. Whatever else a tar file can hold (links, devices, folders, long names) is refused unread: a bundle comes
// from outside. Memory is bounded by one piece of input, whatever a header says.

const BLOCK_BYTES = 512
/** From here on a size does not fit into the 11 octal digits of ustar. */
const PAX_FROM_BYTES = 8 * 1024 ** 3
/** A pax header of ours holds one record. */
const MAX_PAX_BYTES = 512
/** GNU tar pads an archive to records of 20 blocks. More zeros than this belong to no archive. */
const MAX_PADDING_BYTES = 1024 * 1024
const NAME = /^[a-z0-9][a-z0-9._/-]{0,98}$/

/** The input is no tar file of the form that bundles have. The message says why. */
export class BadArchive extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'BadArchive'
  }
}

export interface Member {
  readonly name: string
  readonly sizeBytes: number
  /** The bytes, in pieces. What is not taken is skipped by the next member. Rejects with BadArchive if the input ends early. */
  readonly bytes: AsyncIterable<Buffer>
}

/** The header of a member, with a pax header before it for a large file. The name has at most 99 plain characters. */
export function tarHeader(name: string, sizeBytes: number): Buffer {
  if (!NAME.test(name)) throw new Error(`no name of a member: ${name}`)
  if (sizeBytes < PAX_FROM_BYTES) return ustar(name, sizeBytes, '0')
  const record = paxRecord('size', String(sizeBytes))
  return Buffer.concat([
    ustar('pax', record.length, 'x'),
    Buffer.from(record),
    tarPadding(record.length),
    // Readers that know pax take the size from the record.
    ustar(name, 0, '0'),
  ])
}

/** The zeros after a member, up to the next block. */
export function tarPadding(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES)
}

/** The end of an archive. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * BLOCK_BYTES)
}

function ustar(name: string, sizeBytes: number, type: '0' | 'x'): Buffer {
  const header = Buffer.alloc(BLOCK_BYTES)
  const octal = (value: number, length: number): string => `${value.toString(8).padStart(length - 1, '0')}\0`
  header.write(name, 0)
  header.write(octal(0o444, 8), 100)
  header.write(octal(0, 8), 108)
  header.write(octal(0, 8), 116)
  header.write(octal(sizeBytes, 12), 124)
  // The same content makes the same archive.
  header.write(octal(0, 12), 136)
  header.write(type, 156)
  header.write('ustar\u000000', 257)
  header.write(octal(0, 8), 329)
  header.write(octal(0, 8), 337)
  header.write(`${checksum(header).toString(8).padStart(6, '0')}\0 `, 148)
  return header
}

/** The sum of all bytes, those of the checksum itself taken for spaces. */
function checksum(header: Buffer): number {
  let sum = 8 * 0x20
  for (const [index, byte] of header.entries()) if (index < 148 || index >= 156) sum += byte
  return sum
}

/** `<length> <key>=<value>\n`, where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (`${length}${rest}`.length !== length) length += 1
  return `${length}${rest}`
}

/**
 * The members of an archive, in their order. Each must be used before the next is taken. Throws BadArchive, also where the
 * archive has no end, or bytes follow it.
 */
export async function* readTar(input: AsyncIterable<Buffer>): AsyncGenerator<Member, void, undefined> {
  const source = new Source(input)
  let large: number | undefined
  for (;;) {
    const header = await source.take(BLOCK_BYTES, 'the archive ends without its end mark: it was cut short')
    if (header.every((byte) => byte === 0)) {
      if (large !== undefined) throw new BadArchive('a pax header is followed by no member')
      return await readEnd(source)
    }
    const { name, sizeBytes: told, type } = readHeader(header)
    if (type === 'x') {
      if (large !== undefined || told > MAX_PAX_BYTES)
        throw new BadArchive('the archive has a pax header that bundles do not have')
      large = paxSize((await source.take(told, CUT)).toString('latin1'))
      await source.take(padding(told), CUT)
      continue
    }
    const sizeBytes: number = large ?? told
    large = undefined
    let left = sizeBytes
    const bytes = async function* (): AsyncGenerator<Buffer, void, undefined> {
      while (left > 0) {
        const piece = await source.some(left)
        if (piece === undefined)
          throw new BadArchive(`the archive ends in the middle of ${name}: it was cut short`)
        left -= piece.length
        yield piece
      }
    }
    yield { name, sizeBytes, bytes: { [Symbol.asyncIterator]: bytes } }
    // What the user has left.
    for await (const _ of bytes()) continue
    await source.take(padding(sizeBytes), CUT)
  }
}

const CUT = 'the archive was cut short'

function padding(sizeBytes: number): number {
  return (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES
}

function readHeader(header: Buffer): {
  readonly name: string
  readonly sizeBytes: number
  readonly type: '0' | 'x'
} {
  const text = (start: number, end: number): string => {
    const field = header.toString('latin1', start, end)
    const zero = field.indexOf('\0')
    return zero === -1 ? field : field.slice(0, zero)
  }
  if (text(257, 263).trimEnd() !== 'ustar') throw new BadArchive('it is no tar file (POSIX ustar)')
  if (octalOf(text(148, 156)) !== checksum(header)) throw new BadArchive('a tar header is damaged')
  const type = header.toString('latin1', 156, 157)
  if (type !== '0' && type !== 'x')
    throw new BadArchive('the archive has a member that is no regular file, such as a link or a folder')
  const name = text(0, 100)
  if (!NAME.test(name) || name.includes('..') || name.includes('//') || text(345, 500) !== '')
    throw new BadArchive('the archive has a member with a name that bundles do not have')
  const sizeBytes = octalOf(text(124, 136))
  if (sizeBytes === undefined) throw new BadArchive('a tar header has no valid size')
  return { name, sizeBytes, type }
}

function octalOf(text: string): number | undefined {
  return /^ *[0-7]{1,11} *$/.test(text) ? Number.parseInt(text.trim(), 8) : undefined
}

function paxSize(text: string): number {
  const [, value] = /^\d+ size=(\d{1,15})\n$/.exec(text) ?? []
  if (value === undefined || paxRecord('size', value) !== text)
    throw new BadArchive('the archive has a pax header that bundles do not have')
  return Number(value)
}

/** Only zeros may follow. */
async function readEnd(source: Source): Promise<void> {
  const second = await source.take(BLOCK_BYTES, 'the archive ends without its end mark: it was cut short')
  let bytes = 0
  for (let piece: Buffer | undefined = second; piece !== undefined; piece = await source.some(BLOCK_BYTES)) {
    bytes += piece.length
    if (bytes > MAX_PADDING_BYTES || piece.some((byte) => byte !== 0))
      throw new BadArchive('something follows the end of the archive')
  }
}

/** Cuts the input into the pieces that are wanted. */
class Source {
  readonly #input: AsyncIterator<Buffer>
  #rest: Buffer = Buffer.alloc(0)

  constructor(input: AsyncIterable<Buffer>) {
    this.#input = input[Symbol.asyncIterator]()
  }

  /** Between one and `most` bytes; undefined at the end of the input. */
  async some(most: number): Promise<Buffer | undefined> {
    while (this.#rest.length === 0) {
      const next = await this.#input.next()
      if (next.done === true) return undefined
      this.#rest = next.value
    }
    const piece = this.#rest.subarray(0, most)
    this.#rest = this.#rest.subarray(piece.length)
    return piece
  }

  /** Exactly as many bytes. Throws BadArchive with `otherwise` if there are fewer. */
  async take(sizeBytes: number, otherwise: string): Promise<Buffer> {
    const pieces: Buffer[] = []
    let left = sizeBytes
    while (left > 0) {
      const piece = await this.some(left)
      if (piece === undefined) throw new BadArchive(otherwise)
      pieces.push(piece)
      left -= piece.length
    }
    return Buffer.concat(pieces)
  }
}
