// Drives @huggingface/hub. usage: hub.mjs COMMAND HUB_URL REPO [PATH]; HF_TOKEN is the caller's token.
// Run with the folder of the JavaScript clients as working directory.

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

// Resolved at run time: the package belongs to that folder, and not to this project.
const client = '@huggingface/hub'
const require = createRequire(`${process.cwd()}/package.json`)
const hub = await import(pathToFileURL(require.resolve(client)).href)
const [command, hubUrl, repo, path] = process.argv.slice(2)
const accessToken = process.env.HF_TOKEN
const asked = { hubUrl, repo, ...(accessToken === undefined ? {} : { accessToken }) }
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex')

const commands = {
  async list() {
    const paths = []
    for await (const file of hub.listFiles({ ...asked, recursive: true })) {
      if (file.type === 'file') paths.push(file.path)
    }
    return paths.sort((left, right) => (left < right ? -1 : 1))
  },
  async info() {
    const {
      name,
      private: isPrivate,
      sha,
    } = await hub.modelInfo({
      ...asked,
      name: repo,
      additionalFields: ['sha'],
    })
    return { name, isPrivate, sha }
  },
  async paths() {
    const found = await hub.pathsInfo({ ...asked, paths: [path, 'absent.txt'] })
    return found.map(({ path, size }) => ({ path, size }))
  },
  async download() {
    const blob = await hub.downloadFile({ ...asked, path })
    return blob === null
      ? null
      : { sizeBytes: blob.size, sha256: digest(Buffer.from(await blob.arrayBuffer())) }
  },
  async slice() {
    const blob = await hub.downloadFile({ ...asked, path })
    return digest(Buffer.from(await blob.slice(1000, 2000).arrayBuffer()))
  },
  async cached() {
    const local = await hub.downloadFileToCacheDir({ ...asked, path, cacheDir: `${process.env.HOME}/cache` })
    return digest(await readFile(local))
  },
  async snapshot() {
    const folder = await hub.snapshotDownload({ ...asked, cacheDir: `${process.env.HOME}/cache` })
    return { commit: folder.split('/').at(-1) }
  },
  async exists() {
    return hub.fileExists({ ...asked, path })
  },
  async upload() {
    const { readFile } = await import('node:fs/promises')
    await hub.createRepo({ ...asked })
    const file = { path: 'large.bin', content: new Blob([await readFile(path)]) }
    const { commit } = await hub.uploadFile({ ...asked, file, useXet: false })
    return commit.url
  },
  async whoami() {
    return (await hub.whoAmI({ hubUrl, accessToken })).name
  },
}

try {
  console.log(JSON.stringify({ value: await commands[command]() }))
} catch (error) {
  console.log(JSON.stringify({ error: error.name, status: error.statusCode, message: error.message }))
}
