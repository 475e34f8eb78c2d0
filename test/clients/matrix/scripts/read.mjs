// Reads a repo with a JavaScript client, or uploads to it, and prints the SHA-256 of each file that was read.
// usage: read.mjs WAY ENDPOINT REPO [FILE]; HF_TOKEN is the caller's token. Run with the folder of the JavaScript clients
// as working directory. FILE is what "upload" sends. REVISION in the environment is the branch, tag or commit to read.

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [way, hubUrl, repo, path] = process.argv.slice(2)
const cacheDir = `${process.env.HOME}/cache`
const accessToken = process.env.HF_TOKEN
const revision = process.env.REVISION ?? 'main'
const asked = { hubUrl, repo, ...(accessToken === undefined ? {} : { accessToken }) }

// Resolved at run time: the packages belong to that folder, and not to this project.
const require = createRequire(`${process.cwd()}/package.json`)
const load = async (name) => import(pathToFileURL(require.resolve(name)).href)

async function show(folder) {
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    if (entry.isDirectory()) continue
    const file = join(entry.parentPath, entry.name)
    console.log(
      createHash('sha256')
        .update(await readFile(file))
        .digest('hex'),
      file,
    )
  }
}

const ways = {
  async snapshot() {
    const { snapshotDownload } = await load('@huggingface/hub')
    await show(await snapshotDownload({ ...asked, revision, cacheDir }))
  },
  async large() {
    const { downloadFileToCacheDir } = await load('@huggingface/hub')
    await downloadFileToCacheDir({ ...asked, path: 'large.bin', cacheDir })
    await show(cacheDir)
  },
  async upload() {
    const { uploadFile } = await load('@huggingface/hub')
    const file = { path: 'large.bin', content: new Blob([await readFile(path)]) }
    await uploadFile({ ...asked, file, useXet: false })
  },
  async transformers() {
    const { AutoConfig, AutoTokenizer, env } = await load('@huggingface/transformers')
    Object.assign(env, { remoteHost: `${hubUrl}/`, cacheDir, allowLocalModels: false })
    const { model_type: type } = await AutoConfig.from_pretrained(repo, { revision })
    const tokenizer = await AutoTokenizer.from_pretrained(repo, { revision })
    console.log(JSON.stringify({ type, tokens: tokenizer.encode('hello world').length }))
    await show(cacheDir)
  },
}

try {
  await ways[way]()
} catch (error) {
  console.error(error)
  process.exitCode = 1
}
