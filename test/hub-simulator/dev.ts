// A mirror to work on: it runs in front of the simulated Hub, and starts again whenever the source compiles. The Hub
// keeps running, and the store stays, until Ctrl-C ends all of it and removes the store.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { DEMO_TOKENS, demoWorld } from './demo-world.ts'
import { mirrorEnvironment } from './mirror-environment.ts'
import { startHub } from './server.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
/** The line that ends each compilation of `tsc --watch`. */
const COMPILED = /Found (\d+) errors?\. Watching/

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8080' },
    'hub-port': { type: 'string', default: '8090' },
  },
})

const store = await mkdtemp(join(tmpdir(), 'hubmirror-dev-'))
const hub = await startHub({ world: demoWorld(), port: Number(values['hub-port']) })
const compiler = startCompiler()
let mirror: ChildProcess | undefined
let isEnding = false

console.log(`
The simulated Hub is ${hub.url}, its CDN ${hub.cdnUrl}; the store is ${store}.
In another terminal:

  export HF_ENDPOINT=http://127.0.0.1:${values.port}
  export HF_TOKEN=${DEMO_TOKENS.alice}   # may read everything
  export HF_TOKEN=${DEMO_TOKENS.bob}     # may read public repos only
  curl -sSi $HF_ENDPOINT/acme/tiny-model/resolve/main/config.json

The mirror starts when the source has compiled, and again after each change. Ctrl-C ends everything.
`)

process.once('SIGINT', end)
process.once('SIGTERM', end)
for await (const line of createInterface({ input: compiler.stdout })) {
  console.log(line)
  const errors = COMPILED.exec(line)?.[1]
  if (errors === '0' && !isEnding) await restart()
}
await stopMirror()
await hub.close()
await rm(store, { recursive: true, force: true })

function startCompiler() {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc')
  return spawn(process.execPath, [tsc, '-p', '.', '--watch', '--preserveWatchOutput'], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'inherit'],
    // Compiler and mirror have process groups of their own: Ctrl-C reaches this process alone, which ends both in order.
    detached: true,
  })
}

async function restart(): Promise<void> {
  await stopMirror()
  mirror = spawn(process.execPath, ['--enable-source-maps', 'dist/launch.cjs', 'serve'], {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
    env: mirrorEnvironment(hub, {
      HUBMIRROR_PORT: values.port,
      HUBMIRROR_CACHE_DIR: join(store, 'cache'),
      HUBMIRROR_DRAIN_TIMEOUT: '1s',
    }),
  })
}

/** Ends the mirror, if it runs, and waits for its end. SIGINT skips the drain delay. */
async function stopMirror(): Promise<void> {
  const running = mirror
  mirror = undefined
  if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
  running.kill('SIGINT')
  await once(running, 'exit')
}

function end(): void {
  isEnding = true
  // The whole group: the command of the package starts the compiler as a process of its own.
  if (compiler.pid !== undefined) process.kill(-compiler.pid)
}
