// Reads all files of a model, at `main` or at REVISION, and prints the sha256 of each as JSON, by its path.
//
// usage: pair.mjs CLIENT HUB_URL REPO [REVISION], with the folder of the JavaScript clients as working directory. CLIENT is
// `huggingface.js`, or `hf-hub`: the requests of the Rust crate of that name (api/sync.rs of version 0.4).

import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'

const [client, hubUrl, repo, revision = 'main'] = process.argv.slice(2)
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex')

async function ok(url, headers = {}) {
  const answer = await fetch(url, { headers })
  if (!answer.ok) throw new Error(`${answer.status} of ${url}: ${answer.headers.get('x-error-message')}`)
  return answer
}

const clients = {
  async 'huggingface.js'() {
    // Resolved at run time: the package belongs to that folder, and not to this project.
    const require = createRequire(`${process.cwd()}/package.json`)
    const hub = await import(pathToFileURL(require.resolve('@huggingface/hub')).href)
    const folder = await hub.snapshotDownload({
      hubUrl,
      repo,
      revision,
      cacheDir: `${process.env.HOME}/cache`,
    })
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    const paths = entries
      .filter((entry) => !entry.isDirectory())
      .map((entry) => join(entry.parentPath, entry.name))
    return Promise.all(paths.map(async (path) => [relative(folder, path), digest(await readFile(path))]))
  },
  async 'hf-hub'() {
    const info = await (await ok(`${hubUrl}/api/models/${repo}/revision/${revision}`)).json()
    const found = []
    for (const { rfilename: path } of info.siblings) {
      const url = `${hubUrl}/${repo}/resolve/${revision}/${path}`
      const head = await fetch(url, { headers: { range: 'bytes=0-0' } })
      const answered = ['etag', 'x-repo-commit'].every((name) => head.headers.has(name))
      // An empty file has no range, and the crate fails for it at the Hub, too.
      if (!answered && head.status !== 416) throw new Error(`${head.status} without metadata of ${url}`)
      await head.arrayBuffer()
      found.push([path, digest(Buffer.from(await (await ok(url)).arrayBuffer()))])
    }
    return found
  },
}

console.log(JSON.stringify(Object.fromEntries(await clients[client]())))
