// `hubmirror bundle verify`: reads a bundle to its end and compares all of it with its manifest. It needs no store.

import { createHash } from 'node:crypto'
import { Verifier } from '../../store/digest.ts'
import { formatRepo } from '../repo-argument.ts'
import { formatSize, plural, printable } from '../store-output.ts'
import type { BundledFile } from './manifest.ts'
import { withSource } from './parts.ts'
import { type Expected, expectedMembers, type OpenBundle, openBundle, sizeOf } from './read.ts'
import { BadArchive, type Member } from './tar.ts'

/**
 * Prints what it has found. Resolves with whether the bundle is whole and right. Rejects with UnusableBundle, BadArchive, DiskFailure,
 * and the reason of the signal.
 */
export function verifyBundle(file: string, signal: AbortSignal): Promise<boolean> {
  return withSource(file, signal, async (source) => verify(await openBundle(source), signal))
}

async function verify({ name, head, manifest, members }: OpenBundle, signal: AbortSignal): Promise<boolean> {
  const left = expectedMembers(manifest)
  const total = left.size
  const nameOf = fileNames(manifest.files)
  const faults: string[] = []
  const seen = new Set<string>()
  try {
    for await (const member of members) {
      signal.throwIfAborted()
      const expected = left.get(member.name)
      left.delete(member.name)
      if (seen.has(member.name)) faults.push(`${member.name} is there twice`)
      else if (expected === undefined)
        faults.push(`${member.name} is superfluous: the manifest does not name it`)
      else if (!(await isRight(member, expected))) faults.push(`${member.name} is damaged${nameOf(expected)}`)
      seen.add(member.name)
    }
  } catch (error) {
    if (!(error instanceof BadArchive)) throw error
    faults.push(error.message)
  }
  for (const [missing, expected] of left) faults.push(`${missing} is missing${nameOf(expected)}`)
  const lines = manifest.repos.map(
    ({ repo, isPublic }) => `${formatRepo(repo)}: ${isPublic ? 'public' : 'private or gated'}`,
  )
  const carried = manifest.blobs.filter(({ isCarried }) => isCarried)
  lines.push(
    `name ${name}, made ${printable(head.createdAt)}`,
    ...(head.since === undefined ? [] : [`builds on ${head.since}`]),
    `${plural(manifest.files.length, 'file')}, ${plural(carried.length, 'blob')}, ` +
      formatSize(carried.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)),
    faults.length === 0
      ? `${plural(total, 'member')}, all right`
      : `${plural(faults.length, 'fault')}: do not load this bundle; copy it again, or make it again`,
  )
  process.stdout.write(lines.map((line) => `${line}\n`).join(''))
  process.stderr.write(faults.map((fault) => `hubmirror: ${fault}\n`).join(''))
  return faults.length === 0
}

async function isRight(member: Member, expected: Expected): Promise<boolean> {
  if (member.sizeBytes !== sizeOf(expected)) return false
  if (expected.kind === 'document') {
    const hash = createHash('sha256')
    for await (const piece of member.bytes) hash.update(piece)
    return hash.digest('hex') === expected.documents[0]?.sha256
  }
  const verifier = new Verifier(expected.blob.key, expected.blob.sizeBytes)
  for await (const piece of member.bytes) verifier.update(piece)
  return verifier.matches()
}

/** Names the first file that needs a member. Many members may be faulty, so the files are read once, for the first of them. */
export function fileNames(files: readonly BundledFile[]): (expected: Expected) => string {
  let firsts: Map<string, BundledFile> | undefined
  return (expected) => {
    if (expected.kind !== 'blob') return ''
    // The last entry of a key stays, so the first file must come last.
    firsts ??= new Map(files.toReversed().map((file) => [file.key, file]))
    const file = firsts.get(expected.blob.key)
    return file === undefined ? '' : ` (${formatRepo(file.repo)}/${printable(file.path)})`
  }
}
