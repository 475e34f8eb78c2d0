// A Hub whose CDN is an nginx that speaks TLS, and what stands before it: the mirror, a cache of nginx, or nothing. All
// trust the authority of the test certificates, the mirror by NODE_EXTRA_CA_CERTS.

import { closeSync, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { startNginx } from '../compare/nginx.ts'
import { type Hub, startHub } from '../hub-simulator/server.ts'
import { GOOD_CERTIFICATE, SERVER_KEY, TEST_CA } from '../support/certificates.ts'
import type { Server } from './contestants.ts'
import type { BenchFile } from './files.ts'
import { spawnMirror, untilUp } from './servers.ts'

export interface TlsScene {
  readonly caFile: string
  /** Starts one with an empty cache. The caller must stop it. */
  readonly start: Readonly<Record<'mirror' | 'nginx', () => Promise<Server>>>
  /** The address of a file at the CDN. */
  cdnUrl(file: BenchFile): string
  stop(): Promise<void>
}

/** Opens the scene for `files` of the world of `world`. The caller must stop it. */
export async function openTlsScene(world: Hub['world'], files: readonly BenchFile[]): Promise<TlsScene> {
  const tls = mkdtempSync(path.join(tmpdir(), 'hubmirror-tls-'))
  const caFile = path.join(tls, 'ca.pem')
  writeFileSync(caFile, TEST_CA)
  writeFileSync(path.join(tls, 'certificate.pem'), GOOD_CERTIFICATE)
  writeFileSync(path.join(tls, 'key.pem'), SERVER_KEY)
  const cdn = await startNginx('tls-cdn', { url: 'http://unused', cdnUrl: '', tls })
  const cdnUrl = `https://localhost:${cdn.port}`
  const hub = await startHub({ world, cdnUrl })
  const addresses = new Map<BenchFile, string>()
  for (const file of files) addresses.set(file, await putAtCdn(hub, path.join(cdn.directory, 'static'), file))
  const addressOf = (file: BenchFile): string => addresses.get(file) ?? ''
  return {
    caFile,
    cdnUrl: addressOf,
    start: {
      async mirror() {
        const server = await spawnMirror(hub, { NODE_EXTRA_CA_CERTS: caFile })
        await untilUp(server)
        const fileUrl = (file: BenchFile): string => server.url + resolvePath(file)
        return { name: 'mirror', pid: server.pid, fileUrl, stop: () => server.stop() }
      },
      async nginx() {
        const nginx = await startNginx('tls-cache', { url: hub.url, cdnUrl, tls })
        const fileUrl = (file: BenchFile): string => nginx.url + new URL(addressOf(file)).pathname
        return { name: 'nginx', pid: nginx.pid, fileUrl, stop: () => nginx.stop() }
      },
    },
    async stop() {
      await hub.close()
      await cdn.stop()
      rmSync(tls, { recursive: true, force: true })
    },
  }
}

/** Writes a file to the place to which the Hub redirects, and returns that address. */
async function putAtCdn(hub: Hub, root: string, file: BenchFile): Promise<string> {
  const response = await fetch(hub.url + resolvePath(file), { redirect: 'manual' })
  await response.arrayBuffer()
  const address = response.headers.get('location') ?? ''
  const target = path.join(root, new URL(address).pathname)
  mkdirSync(path.dirname(target), { recursive: true })
  const descriptor = openSync(target, 'w')
  for (const piece of file.content.pieces(0, file.content.sizeBytes)) writeSync(descriptor, piece)
  closeSync(descriptor)
  return address
}

function resolvePath({ repo, commit, path: name }: BenchFile): string {
  return `/${repo}/resolve/${commit}/${name}`
}
