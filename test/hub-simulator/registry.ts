// The way of Ollama and llama.cpp to GGUF files: /v2/{ns}/{name}/manifests/{tag} and /blobs/sha256:{hex}. Blobs of LFS files
// lie at the CDN; the small ones that belong to a manifest are answered here.

import { createHash } from 'node:crypto'
import { callerOf, judgeFiles, REFUSALS } from './access.ts'
import type { Exchange } from './exchange.ts'
import { type HubState, notFound, redirect, refuse, sendJson } from './hub.ts'
import type { FileEntry } from './repos.ts'
import { cdnLocation } from './resolve.ts'

const CONFIG = JSON.stringify({ model_format: 'gguf' })
const MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'

/** Answers /v2/…; `segments` come after `v2`. */
export async function answerRegistry(
  hub: HubState,
  exchange: Exchange,
  segments: readonly string[],
): Promise<void> {
  const [namespace, name, kind, reference] = segments
  if (reference === undefined || segments.length > 4) return notFound(exchange)
  const found = hub.world.find('models', `${namespace}/${name}`)
  const caller = callerOf(hub.world, exchange.request.headers)
  const refusal = judgeFiles(hub.world, caller, found)
  if (refusal !== undefined) return refuse(exchange, refusal)
  const files = [...(found?.repo.resolve('main')?.files.values() ?? [])]
  if (kind === 'manifests') return sendManifest(exchange, files, reference)
  if (kind !== 'blobs') return notFound(exchange)
  if (reference === digestOf(CONFIG)) return exchange.send({ status: 200, body: CONFIG, isFile: true })
  const file = files.find(({ lfs }) => `sha256:${lfs?.sha256}` === reference)
  if (file?.lfs === undefined || found === undefined) return refuse(exchange, REFUSALS.repoNotFound)
  const location = cdnLocation(hub, exchange, `/xet-bridge-us/${found.repo.objectId}/${file.lfs.xetHash}`, {
    method: exchange.method,
    uid: caller.kind === 'user' ? caller.name : 'public',
    fileName: file.path,
  })
  await redirect(exchange, 307, location)
}

async function sendManifest(exchange: Exchange, files: readonly FileEntry[], tag: string): Promise<void> {
  const models = files.filter(({ path, lfs }) => path.endsWith('.gguf') && lfs !== undefined)
  const isMeant = ({ path }: FileEntry): boolean => path.toLowerCase().includes(tag.toLowerCase())
  const model = tag === 'latest' ? models[0] : models.find(isMeant)
  if (model?.lfs === undefined) return refuse(exchange, { status: 404, message: 'No GGUF file for this tag' })
  const { sizeBytes: size } = model.content
  const digest = `sha256:${model.lfs.sha256}`
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: {
      digest: digestOf(CONFIG),
      mediaType: 'application/vnd.docker.container.image.v1+json',
      size: CONFIG.length,
    },
    layers: [{ digest, mediaType: 'application/vnd.ollama.image.model', size }],
  }
  // Only llama.cpp gets the fields that it reads.
  const isLlama = /llama-cpp/i.test(exchange.header('user-agent') ?? '')
  await sendJson(
    exchange,
    isLlama ? { ...manifest, ggufFile: { rfilename: model.path, blobId: digest, size } } : manifest,
  )
}

function digestOf(text: string): string {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`
}
