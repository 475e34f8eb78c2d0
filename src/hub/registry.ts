// The Hub's container registry, from which Ollama and llama.cpp fetch GGUF files: /v2/{ns}/{name}/manifests/{tag} and
// /v2/{ns}/{name}/blobs/sha256:{hex}. This file reads targets, and does no I/O.

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
