// What Ollama, and llama.cpp from before 2026, ask of the Hub's registry before they read a GGUF file: manifests, and the small blobs
// that these name beside the file. The mirror stores them as it answers.

import type { Repo } from '../../hub/names.ts'
import { blobsIn, MANIFEST_VARIANTS, manifestTarget, tagsFor } from '../../hub/registry.ts'
import { SMALL_BYTES } from '../../store/blobs/blob-file.ts'
import { type Asking, askAgain } from './attempts.ts'
import type { ListedFile } from './listing.ts'

/**
 * Has the manifests of the GGUF files stored that `main` has. No file depends on them, so a refusal is no failure. Rejects with
 * MirrorGone, and with the reason of the signal.
 */
export async function fetchManifests(
  repo: Repo,
  files: readonly ListedFile[],
  asking: Asking,
): Promise<void> {
  const blobs = new Set<string>()
  for (const tag of tagsFor(files.map(({ path }) => path)))
    for (const { accept, isLlama } of MANIFEST_VARIANTS) {
      const headers = { accept, ...(isLlama ? { 'user-agent': 'llama-cpp' } : {}) }
      const text = await read(manifestTarget(repo, tag), headers, asking)
      for (const [sha256, sizeBytes] of blobsIn(text ?? '')) if (sizeBytes <= SMALL_BYTES) blobs.add(sha256)
    }
  for (const { key } of files) if (key?.startsWith('sha256:') === true) blobs.delete(key.slice(7))
  for (const sha256 of blobs) await read(`/v2/${repo.id}/blobs/sha256:${sha256}`, {}, asking)
}

/** The text of an answer; undefined for a refusal. */
async function read(
  target: string,
  headers: Readonly<Record<string, string>>,
  asking: Asking,
): Promise<string | undefined> {
  const { status, text } = await askAgain(target, asking, headers)
  return status === 200 ? text : undefined
}
