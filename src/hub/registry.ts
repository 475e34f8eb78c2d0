// The Hub's container registry, from which Ollama and llama.cpp fetch GGUF files: /v2/{ns}/{name}/manifests/{tag} and
// /v2/{ns}/{name}/blobs/sha256:{hex}. This file reads targets, and does no I/O.

import { parseRecord } from '../records.ts'
import type { Repo } from './names.ts'
import type { HubRoute } from './route.ts'

/** What a request asks of the registry; `target` is the canonical one for the origin. */
export type RegistryRequest =
  | { readonly kind: 'manifest'; readonly repo: Repo; readonly target: string }
  | { readonly kind: 'blob'; readonly repo: Repo; readonly target: string; readonly sha256: string }

/** What clients of registries accept as a manifest. */
const MANIFEST_TYPES: ReadonlySet<string> = new Set([
  '*/*',
  'application/json',
  'application/vnd.docker.distribution.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v1+prettyjws',
  'application/vnd.docker.distribution.manifest.v2+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.oci.image.index.v1+json',
])

/**
 * An Accept field for a manifest in one spelling. Undefined for one with any other type or a weight: a manifest is stored under
 * this text, and there is no limit to what else a field may say.
 */
export function manifestAccept(field: string): string | undefined {
  const types = field
    .split(',')
    .map((type) => type.trim().toLowerCase())
    .filter(Boolean)
  if (!types.every((type) => MANIFEST_TYPES.has(type))) return undefined
  return [...MANIFEST_TYPES].filter((type) => types.includes(type)).join(', ')
}

/** What a manifest depends on, beside its target: the fields of the request. */
export interface ManifestVariant {
  /** In the spelling of `manifestAccept`. */
  readonly accept: string
  /** The Hub names the file to llama.cpp, and to no other client. */
  readonly isLlama: boolean
}

/** The requests of llama.cpp from before 2026, and of Ollama. */
export const MANIFEST_VARIANTS: readonly ManifestVariant[] = [
  { accept: 'application/json', isLlama: true },
  { accept: 'application/vnd.docker.distribution.manifest.v2+json', isLlama: false },
]

/** Whether the User-Agent field is one that the Hub takes for llama.cpp. */
export function isLlamaAgent(field: string | undefined): boolean {
  return /llama-cpp/i.test(field ?? '')
}

/** The name under which a manifest is stored. */
export function manifestName(target: string, { accept, isLlama }: ManifestVariant): string {
  return `MANIFEST ${target} ${isLlama ? 'llama-cpp' : 'any'} ${accept}`
}

/** The fields of the Hub's answer that are stored with a manifest, beside its type. */
export const MANIFEST_HEADERS: readonly string[] = [
  'docker-content-digest',
  'docker-distribution-api-version',
]

/** The name under which the size of a blob is stored that a manifest with this target names. */
export function blobSizeName(manifestTarget: string, sha256: string): string {
  return `BLOB ${manifestTarget.replace(/\/manifests\/.*$/, `/blobs/sha256:${sha256}`)}`
}

/** Each tag of a manifest costs requests, and a repo has a few dozen quantizations at most. */
const MAX_TAGS = 64
const QUANTIZATION = /(?:^|[-._])((?:UD-)?(?:I?Q\d\w*|TQ\d\w*|MXFP\d\w*|BF16|F(?:P)?(?:16|32)))(?=[-.])/gi

/** By which tags clients ask for the GGUF files at these paths: `latest`, and the quantizations in their names. */
export function tagsFor(paths: readonly string[]): readonly string[] {
  const files = paths.filter((path) => path.endsWith('.gguf'))
  if (files.length === 0) return []
  const named = files.flatMap((path) => {
    const name = path.slice(path.lastIndexOf('/') + 1)
    return [...name.matchAll(QUANTIZATION)].at(-1)?.[1] ?? []
  })
  return [...new Set(['latest', ...named])].slice(0, MAX_TAGS)
}

/** The target of the manifest of a tag. */
export function manifestTarget({ id }: Repo, tag: string): string {
  return `/v2/${id}/manifests/${tag}`
}

const MAX_BLOBS = 64

/** The sha256 and size of each blob that a manifest names, as far as they are well formed and no more than any manifest has. */
export function blobsIn(manifest: string): ReadonlyMap<string, number> {
  const found = new Map<string, number>()
  const named = parseRecord(manifest)
  const layers: readonly unknown[] = Array.isArray(named?.['layers']) ? named['layers'] : []
  for (const blob of [named?.['config'], ...layers.slice(0, MAX_BLOBS)]) {
    const { digest, size } = (blob ?? {}) as { readonly digest?: unknown; readonly size?: unknown }
    const [, sha256] = (typeof digest === 'string' && /^sha256:([0-9a-f]{64})$/.exec(digest)) || []
    if (sha256 !== undefined && Number.isSafeInteger(size) && Number(size) >= 0 && Number(size) < 1e15)
      found.set(sha256, Number(size))
  }
  return found
}

/** Undefined for every other route, and for a target in a spelling that no client uses. */
export function registryRequest(route: HubRoute): RegistryRequest | undefined {
  if (route.kind !== 'other' || route.repo === undefined) return undefined
  const { repo, target } = route
  const base = `/v2/${repo.id}/`
  if (repo.type !== 'model' || !target.startsWith(base)) return undefined
  const rest = target.slice(base.length)
  if (/^manifests\/[\w.:-]{1,128}$/.test(rest)) return { kind: 'manifest', repo, target }
  const [, sha256] = /^blobs\/sha256(?::|%3A)([0-9a-f]{64})$/.exec(rest) ?? []
  return sha256 === undefined ? undefined : { kind: 'blob', repo, target, sha256 }
}
