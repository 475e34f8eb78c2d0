// Plays the requests of a client that is not to be had here, and prints the SHA-256 of each file that it got.
// usage: replay.mjs CLIENT ENDPOINT REPO; HF_TOKEN is the caller's token.

import { createHash } from 'node:crypto'

const [client, endpoint, repo] = process.argv.slice(2)
const token = process.env.HF_TOKEN

async function ask(path, { method = 'GET', headers = {}, status = 200 } = {}) {
  const authorization = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const url = path.startsWith('http') ? path : `${endpoint}/${path}`
  const response = await fetch(url, { method, headers: { ...authorization, ...headers } })
  if (response.status === status) return response
  throw new Error(`${method} ${url}: ${response.status} ${await response.text()}`)
}

async function show(response, name) {
  const bytes = Buffer.from(await response.arrayBuffer())
  console.log(createHash('sha256').update(bytes).digest('hex'), name)
  return bytes
}

const LLAMA = { 'user-agent': 'llama-cpp/b6000-0' }

/** common/download.cpp: a HEAD, and then the file. */
async function llamaFile(path) {
  const head = await ask(path, { method: 'HEAD', headers: LLAMA })
  if (!head.headers.has('etag') || head.headers.get('accept-ranges') === 'none')
    throw new Error('no ETag, or no ranges')
  const bytes = await show(await ask(path, { headers: LLAMA }), path)
  if (String(bytes.length) !== head.headers.get('content-length')) throw new Error('another length')
}

/** hf-hub 0.4 by tokio, in the launchers and routers of TGI and TEI: the size by one byte, then the file by a range. */
async function crate(name) {
  const headers = { 'user-agent': 'unkown/None; hf-hub/0.4.2; rust/unknown' }
  const path = `${repo}/resolve/main/${name}`
  const first = await ask(path, { headers: { ...headers, range: 'bytes=0-0' }, status: 206 })
  await first.arrayBuffer()
  const size = Number(first.headers.get('content-range')?.split('/').at(-1))
  const etag = first.headers.get('x-linked-etag') ?? first.headers.get('etag')
  if (!(size > 0) || !etag || !first.headers.get('x-repo-commit'))
    throw new Error('no size, no ETag or no commit')
  const range = `bytes=0-${size - 1}`
  await show(await ask(path, { headers: { ...headers, range }, status: 206 }), name)
}

const clients = {
  /** common/hf-cache.cpp */
  async 'llama.cpp'() {
    const json = { ...LLAMA, accept: 'application/json' }
    const { branches } = await (await ask(`api/models/${repo}/refs`, { headers: json })).json()
    const { targetCommit } = branches.find(({ name }) => name === 'main')
    const tree = await (
      await ask(`api/models/${repo}/tree/${targetCommit}?recursive=true`, { headers: json })
    ).json()
    const file = tree.find(({ path }) => path.endsWith('.gguf'))
    if (!/^[0-9a-f]{64}$/.test(file.lfs.oid)) throw new Error('no digest')
    await llamaFile(`${repo}/resolve/${targetCommit}/${file.path}`)
  },
  /** Before 2026: the manifest names the file. */
  async 'llama.cpp-manifest'() {
    const headers = { ...LLAMA, accept: 'application/json' }
    const { ggufFile } = await (await ask(`v2/${repo}/manifests/latest`, { headers })).json()
    await llamaFile(`${repo}/resolve/main/${ggufFile.rfilename}`)
  },
  /** server/images.go and server/download.go */
  async ollama() {
    const headers = { 'user-agent': 'ollama/0.13.0 (amd64 linux) Go/go1.24.1' }
    const accept = 'application/vnd.docker.distribution.manifest.v2+json'
    const manifest = await (
      await ask(`v2/${repo}/manifests/latest`, { headers: { ...headers, accept } })
    ).json()
    for (const { digest } of [...manifest.layers, manifest.config]) {
      const path = `v2/${repo}/blobs/${digest}`
      const head = await ask(path, { method: 'HEAD', headers })
      const last = Number(head.headers.get('content-length')) - 1
      // Asks where the blob lies, reads nothing of it, and then asks for its parts.
      await (await ask(path, { headers })).body.cancel()
      const part = await ask(path, { headers: { ...headers, range: `bytes=0-${last}` }, status: 206 })
      const bytes = await show(part, digest)
      if (`sha256:${createHash('sha256').update(bytes).digest('hex')}` !== digest)
        throw new Error('another digest')
    }
  },
  /** core/src/download.rs: what may be absent, and what must be there. */
  async tei() {
    for (const name of [
      '1_Pooling/config.json',
      'sentence_bert_config.json',
      'config_sentence_transformers.json',
    ])
      await ask(`${repo}/resolve/main/${name}`, { headers: { range: 'bytes=0-0' }, status: 404 })
    for (const name of ['config.json', 'tokenizer.json', 'model.safetensors']) await crate(name)
  },
  /** launcher/src/main.rs and router/src/server.rs */
  async 'tgi-router'() {
    await (await ask(`api/models/${repo}/revision/main`)).json()
    for (const name of ['config.json', 'tokenizer.json', 'tokenizer_config.json']) await crate(name)
    await ask(`${repo}/resolve/main/preprocessor_config.json`, {
      headers: { range: 'bytes=0-0' },
      status: 404,
    })
  },
}

try {
  await clients[client]()
} catch (error) {
  console.error(error)
  process.exitCode = 1
}
