// Shows the mirror at work without the internet: a simulated Hub, a mirror in front of it, and commands to try.
// Both end on Ctrl-C and leave nothing behind. Knows the mirror by its command line only.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { DEMO_TOKENS, demoWorld } from './demo-world.ts'
import { figures } from './figures.ts'
import { mirrorEnvironment } from './mirror-environment.ts'
import { type Hub, startHub } from './server.ts'

const READY_TRIES = 100
const READY_EVERY_MS = 100

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    'hub-port': { type: 'string', default: '0' },
  },
})

const folder = await mkdtemp(join(tmpdir(), 'hubmirror-demo-'))
const hub = await startHub({ world: demoWorld(), port: Number(values['hub-port']) })
const mirrorUrl = `http://127.0.0.1:${values.port}`
const mirror = startMirror(hub, values.port, join(folder, 'cache'))
const ended = once(mirror, 'exit')

const stop = () => mirror.kill('SIGINT')
let ending: Promise<unknown> | undefined
// More than once: a busy tsx passes on a SIGINT that the terminal has sent to this process already.
const finish = () => {
  ending ??= showFigures(mirrorUrl).finally(stop)
}
process.on('SIGINT', finish)
process.on('SIGTERM', finish)
if (await isReady(mirror, mirrorUrl)) console.log(instructions(mirrorUrl, hub, folder))
else if (mirror.exitCode === null) {
  console.error(`The mirror does not answer on ${mirrorUrl}.`)
  stop()
}
const [exitCode] = await ended
await hub.close()
await rm(folder, { recursive: true, force: true })
process.exitCode = typeof exitCode === 'number' ? exitCode : 0

function startMirror(hub: Hub, port: string, cacheDir: string): ChildProcess {
  const cli = fileURLToPath(new URL('../../dist/cli.js', import.meta.url))
  return spawn(process.execPath, ['--enable-source-maps', cli, 'serve'], {
    stdio: ['ignore', 'inherit', 'inherit'],
    // In a process group of its own: a Ctrl-C at the terminal must reach the demo first, which asks for the figures.
    detached: true,
    env: mirrorEnvironment(hub, {
      HUBMIRROR_PORT: port,
      HUBMIRROR_CACHE_DIR: cacheDir,
      HUBMIRROR_LOG_LEVEL: 'warn',
    }),
  })
}

async function showFigures(url: string): Promise<void> {
  try {
    console.log(figures(await (await fetch(`${url}/metrics`)).text()))
  } catch {
    console.error('The mirror has ended already: there are no figures.')
  }
}

async function isReady(mirror: ChildProcess, url: string): Promise<boolean> {
  for (let tries = 0; tries < READY_TRIES && mirror.exitCode === null; tries += 1) {
    const isUp = await fetch(`${url}/healthz`).then(
      (answer) => answer.ok,
      () => false,
    )
    if (isUp) return true
    await sleep(READY_EVERY_MS)
  }
  return false
}

function instructions(url: string, hub: Hub, folder: string): string {
  const alice = DEMO_TOKENS.alice
  const bob = DEMO_TOKENS.bob
  const big = `${url}/acme/big-model/resolve/main/model.safetensors`
  return `
The simulated Hub is ${hub.url}, its CDN ${hub.cdnUrl}, the mirror ${url}.
In another terminal:

  export HF_ENDPOINT=${url} HF_HOME=${folder}/hf

  # a public model, and again from the mirror's disk (look at X-Cache)
  hf download acme/tiny-model
  curl -s -o /dev/null -D - ${big} | grep -i x-cache
  curl -s -o /dev/null -D - ${big} | grep -i x-cache

  # a private model: not without a token, not with Bob's, but with Alice's
  hf download acme/secret-model
  HF_TOKEN=${bob} hf download acme/secret-model
  HF_TOKEN=${alice} hf download acme/secret-model

  # a gated model: everybody sees it, only Alice gets its files
  hf download acme/gated-model config.json
  HF_TOKEN=${alice} hf download acme/gated-model config.json

Ctrl-C ends both, and shows what the mirror has counted. Prometheus gets the same from ${url}/metrics.
`
}
