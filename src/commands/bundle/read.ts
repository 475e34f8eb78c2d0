// Reads a bundle: first what it says of itself, then its members one by one. All that comes from outside is compared with the
// manifest, and that with the digest in `bundle.json`, before it is used.

import { createHash } from 'node:crypto'
import {
  type BundledBlob,
  type BundledDocument,
  blobName,
  documentMember,
  HEAD_NAME,
  type Head,
  MANIFEST_NAME,
  MAX_HEAD_BYTES,
  MAX_MANIFEST_BYTES,
  type Manifest,
  parseHead,
  parseManifest,
} from './manifest.ts'
import { BadArchive, type Member, readTar } from './tar.ts'

/** A bundle of which the manifest has been read. */
export interface OpenBundle {
  /** The digest of its manifest. */
  readonly name: string
  readonly head: Head
  readonly manifest: Manifest
  /** The members that follow. */
  readonly members: AsyncGenerator<Member, void, undefined>
}

/** Reads up to the end of the manifest. Rejects with BadArchive. */
export async function openBundle(input: AsyncIterable<Buffer>): Promise<OpenBundle> {
  const members = readTar(input)
  const head = parseHead(await readFirst(members, HEAD_NAME, MAX_HEAD_BYTES))
  const body = await readFirst(members, MANIFEST_NAME, Math.min(head.sizeBytes, MAX_MANIFEST_BYTES))
  if (digestOf(body) !== head.sha256)
    throw new BadArchive(`${MANIFEST_NAME} is damaged: it has another digest`)
  return { name: head.sha256, head, manifest: parseManifest(body), members }
}

/** The manifest of a bundle, or a file that is only the manifest of one. Rejects with BadArchive. */
export async function readManifest(
  input: AsyncIterable<Buffer>,
): Promise<{ readonly name: string; readonly manifest: Manifest }> {
  const iterator = input[Symbol.asyncIterator]()
  const first = await iterator.next()
  const start: Buffer = first.done === true ? Buffer.alloc(0) : first.value
  const again: AsyncIterable<Buffer> = {
    async *[Symbol.asyncIterator]() {
      yield start
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next())
        yield next.value
    },
  }
  try {
    if (start[0] !== 0x7b) return await openBundle(again)
    const body = await readAll(again, MAX_MANIFEST_BYTES, 'the manifest')
    return { name: digestOf(body), manifest: parseManifest(body) }
  } finally {
    await iterator.return?.()
  }
}

async function readFirst(
  members: AsyncGenerator<Member, void, undefined>,
  name: string,
  maxBytes: number,
): Promise<Buffer> {
  const next = await members.next()
  if (next.done === true || next.value.name !== name)
    throw new BadArchive(
      `it is no bundle of hubmirror, or its parts are in another order: ${name} is not where it should be`,
    )
  return readMember(next.value, maxBytes)
}

/** All bytes of a member. Rejects with BadArchive if there are more than `maxBytes`. */
export function readMember({ name, sizeBytes, bytes }: Member, maxBytes: number): Promise<Buffer> {
  if (sizeBytes > maxBytes) throw new BadArchive(`${name} is too large`)
  return readAll(bytes, maxBytes, name)
}

async function readAll(bytes: AsyncIterable<Buffer>, maxBytes: number, name: string): Promise<Buffer> {
  const pieces: Buffer[] = []
  let sizeBytes = 0
  for await (const piece of bytes) {
    sizeBytes += piece.length
    if (sizeBytes > maxBytes) throw new BadArchive(`${name} is too large`)
    pieces.push(piece)
  }
  return Buffer.concat(pieces)
}

export function digestOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** What a member is, by its name. */
export type Expected =
  | { readonly kind: 'blob'; readonly blob: BundledBlob }
  /** Answers with the same bytes are one member. */
  | { readonly kind: 'document'; readonly documents: readonly BundledDocument[]; readonly sizeBytes: number }

/** The members that must follow the manifest, by name. */
export function expectedMembers({ blobs, documents }: Manifest): Map<string, Expected> {
  const expected = new Map<string, Expected>()
  for (const blob of blobs) if (blob.isCarried) expected.set(blobName(blob.key), { kind: 'blob', blob })
  const same = new Map<string, BundledDocument[]>()
  for (const document of documents) {
    const { sha256, sizeBytes } = document
    const before = same.get(sha256)
    if (before !== undefined) {
      before.push(document)
      continue
    }
    const list = [document]
    same.set(sha256, list)
    expected.set(documentMember(sha256), { kind: 'document', documents: list, sizeBytes })
  }
  return expected
}

export function sizeOf(expected: Expected): number {
  return expected.kind === 'blob' ? expected.blob.sizeBytes : expected.sizeBytes
}
