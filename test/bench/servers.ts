// The contestants: the built mirror, and nginx as a cache and as a file server. Each is a real process on loopback.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Hub } from '../hub-simulator/server.ts'

export interface Running {
  readonly name: string
  readonly url: string
  readonly pid: number
  readonly directory: string
  stop(): Promise<void>
}

/** A process that was started and may not answer yet. */
export interface Spawned {
  readonly child: ChildProcess
  readonly url: string
  readonly directory: string
}

/** The mirror as users start it, in front of the simulator, with an empty store unless the settings name one. */
export async function startMirror(hub: Hub, settings: Record<string, string> = {}): Promise<Running> {
  const { child, url, directory } = await spawnMirror(hub, settings)
  return running('mirror', url, child, directory)
}

/** The same, without waiting until it answers. Whoever spawns it ends it and removes the directory. */
export async function spawnMirror(hub: Hub, settings: Record<string, string> = {}): Promise<Spawned> {
  const directory = mkdtempSync(path.join(tmpdir(), 'hubmirror-bench-'))
  const port = await freePort()
  const launch = fileURLToPath(new URL('../../dist/launch.cjs', import.meta.url))
  const child = spawn(process.execPath, [launch, 'serve'], {
    stdio: ['ignore', 'ignore', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      HUBMIRROR_PORT: String(port),
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: new URL(hub.cdnUrl).hostname,
      HUBMIRROR_CACHE_DIR: path.join(directory, 'cache'),
      HUBMIRROR_ACCESS_TTL: '1h',
      HUBMIRROR_REF_TTL: '1h',
      ...settings,
    },
  })
  return { child, url: `http://127.0.0.1:${port}`, directory }
}

/** nginx with `proxy_cache` in front of the simulator, and `/static/` by sendfile from `<directory>/static`. */
export async function startNginx(hub: Hub): Promise<Running> {
  const directory = mkdtempSync(path.join(tmpdir(), 'hubmirror-nginx-'))
  const port = await freePort()
  for (const name of ['static', 'cache', 'temp']) mkdirSync(path.join(directory, name), { mode: 0o777 })
  const config = path.join(directory, 'nginx.conf')
  writeFileSync(config, nginxConfig(directory, port, hub.url))
  const child = spawn('nginx', ['-c', config, '-p', directory], { stdio: ['ignore', 'ignore', 'inherit'] })
  return running('nginx', `http://127.0.0.1:${port}`, child, directory)
}

function nginxConfig(directory: string, port: number, origin: string): string {
  const template = readFileSync(new URL('../../nginx-compare/bench.conf', import.meta.url), 'utf8')
  return template
    .replaceAll('@DIRECTORY@', directory)
    .replaceAll('@PORT@', String(port))
    .replaceAll('@ORIGIN@', origin)
}

async function running(name: string, url: string, child: ChildProcess, directory: string): Promise<Running> {
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  for (let tries = 0; ; tries += 1) {
    if (child.exitCode !== null || tries > 200) throw new Error(`${name} did not start`)
    // Anything that answers is up; nginx has no page here.
    const up = await fetch(`${url}/healthz`, { method: 'HEAD' }).then(
      () => true,
      () => false,
    )
    if (up) break
    await sleep(50)
  }
  return {
    name,
    url,
    pid: child.pid ?? 0,
    directory,
    async stop() {
      child.kill('SIGTERM')
      await ended
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() =>
        typeof address === 'object' && address !== null ? resolve(address.port) : reject(new Error()),
      )
    })
  })
}
