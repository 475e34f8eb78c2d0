// The contestants: the built mirror, and nginx as a cache and as a file server. Each is a real process on loopback.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
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

/** The mirror as users start it, in front of the simulator, with an empty store. */
export async function startMirror(hub: Hub, settings: Record<string, string> = {}): Promise<Running> {
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
  return running('mirror', `http://127.0.0.1:${port}`, child, directory)
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
  return `
user root;
daemon off;
# One process, as the mirror is one.
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log warn;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on; tcp_nopush on; keepalive_requests 1000000;
  client_body_temp_path ${directory}/temp/body; proxy_temp_path ${directory}/temp/proxy;
  fastcgi_temp_path ${directory}/temp/fastcgi; uwsgi_temp_path ${directory}/temp/uwsgi; scgi_temp_path ${directory}/temp/scgi;
  proxy_cache_path ${directory}/cache levels=1:2 keys_zone=hub:16m max_size=8g inactive=1h use_temp_path=off;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location /static/ { root ${directory}; }
    location / {
      proxy_pass ${origin}; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache hub; proxy_cache_valid 200 1h; proxy_ignore_headers Cache-Control Expires Set-Cookie Vary;
      proxy_set_header Accept-Encoding identity; proxy_cache_lock on;
    }
  }
}
`
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
