// Loads configuration and tokenizer with transformers.js in a browser, in a page of another origin than the mirror's, so
// that the browser wants CORS of it. Prints what the page found.
// usage: browser.mjs BROWSER ENDPOINT REPO. Run with the folder of the JavaScript clients as working directory.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'

const [browser, endpoint, repo] = process.argv.slice(2)
const bundle = 'node_modules/@huggingface/transformers/dist/transformers.js'
const PAGE = `<!doctype html><script type="module">
  import { AutoConfig, AutoTokenizer, env } from '/transformers.js'
  Object.assign(env, { remoteHost: ${JSON.stringify(`${endpoint}/`)}, allowLocalModels: false })
  let found
  try {
    const { model_type: type } = await AutoConfig.from_pretrained(${JSON.stringify(repo)})
    const tokenizer = await AutoTokenizer.from_pretrained(${JSON.stringify(repo)})
    found = JSON.stringify({ type, tokens: tokenizer.encode('hello world').length })
  } catch (error) {
    found = String(error)
  }
  await fetch('/found', { method: 'POST', body: found })
</script>`

const server = createServer(async (request, response) => {
  if (request.url === '/transformers.js') {
    response.writeHead(200, { 'content-type': 'text/javascript' }).end(await readFile(bundle))
  } else if (request.url === '/found') {
    const chunks = []
    for await (const chunk of request) chunks.push(chunk)
    response.end()
    server.emit('found', Buffer.concat(chunks).toString())
  } else {
    response.writeHead(200, { 'content-type': 'text/html' }).end(PAGE)
  }
}).listen(0, '127.0.0.1')
await once(server, 'listening')
const found = once(server, 'found')
const options = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  `--user-data-dir=${process.env.HOME}/browser`,
  // It has no variable that names an authority.
  ...(endpoint.startsWith('https:') ? ['--ignore-certificate-errors'] : []),
]
const page = `http://127.0.0.1:${server.address().port}/`
const child = spawn(browser, [...options, page], { stdio: ['ignore', 'ignore', 'inherit'] })
const ended = once(child, 'exit')
const [text] = await Promise.race([found, ended.then(() => ['the browser has ended'])])
child.kill()
await ended
server.close()
server.closeAllConnections()
if (text.startsWith('{')) {
  console.log(text)
} else {
  console.error(text)
  process.exitCode = 1
}
