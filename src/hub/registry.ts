// The Hub's container registry, from which Ollama and llama.cpp fetch GGUF files: /v2/{ns}/{name}/manifests/{tag} and
// /v2/{ns}/{name}/blobs/sha256:{hex}. This file reads targets, and does no I/O.

import type { Repo } from './names.ts'
import type { HubRoute } from './route.ts'

/** What a request asks of the registry; `target` is the canonical one for the origin. */
export type RegistryRequest =
  | { readonly kind: 'manifest'; readonly repo: Repo; readonly target: string }
  | { readonly kind: 'blob'; readonly repo: Repo; readonly target: string; readonly sha256: string }

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
