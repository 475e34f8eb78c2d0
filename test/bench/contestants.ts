// The contestants. Each is a real process on loopback in front of the simulator, with an empty cache.

import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Behind, type Nginx, type NginxConfig, startNginx } from '../compare/nginx.ts'
import type { Hub } from '../hub-simulator/server.ts'
import { startSendfileFront } from '../support/sendfile-front.ts'
import type { BenchFile } from './files.ts'
import { type Spawned, spawnMirror, spawnServer, untilUp, versionOf } from './servers.ts'

export type ContestantName =
  | 'mirror'
  | 'ownTls'
  | 'tlsFront'
  | 'sendfile'
  | 'nginx'
  | 'olah'
  | 'plainFiles'
  | 'otherNode'
  | 'curl'

/** A contestant that runs. The caller must stop it. */
export interface Server {
  readonly name: ContestantName
  readonly pid: number
  /** A second process that belongs to it, and counts. */
  readonly frontPid?: number
  fileUrl(file: BenchFile): string
  /** Writes a file to the place from which it is served; for contestants that do not fetch. */
  put?(file: BenchFile): void
  stop(): Promise<void>
}

/** The endpoint that a client of the Hub is given, for a server with the paths of the Hub. */
export function baseOf(server: Server, [file]: readonly BenchFile[]): string {
  if (file === undefined) throw new Error('no file')
  return new URL(server.fileUrl(file)).origin
}

export interface Contestant {
  readonly name: ContestantName
  readonly title: string
  /** Its name and version. Rejects when it is not installed. */
  version(): Promise<string>
  /** How to install it. */
  readonly setup: string
  start(hub: Hub, options?: StartOptions): Promise<Server>
}

export interface StartOptions {
  /** How many processes answer clients, if the contestant can have more than one. */
  readonly processes?: number
  /** Settings of the mirror. */
  readonly settings?: Readonly<Record<string, string>>
}

const OLAH_VERSION = ['-c', 'from importlib.metadata import version; print(version("olah"))']
const OLAH_FOLDER = fileURLToPath(new URL('../../.ci/cache/venv-olah/bin', import.meta.url))
const OTHER_NODE = process.env['HUBMIRROR_BENCH_NODE']

const mirror: Contestant = {
  name: 'mirror',
  title: 'hubmirror',
  setup: 'npm run build',
  version: () => Promise.resolve(`Node ${process.versions.node}`),
  start: async (hub, { processes = 1, settings = {} } = {}) =>
    up('mirror', await spawnMirror(hub, { HUBMIRROR_WORKERS: String(processes), ...settings })),
}

/** The mirror behind an nginx that sends its stored files. */
const sendfile: Contestant = {
  name: 'sendfile',
  title: 'hubmirror behind nginx `sendfile.conf`',
  setup: 'npm run build && bash nginx-compare/setup.sh',
  version: async () => `nginx ${await versionOf('nginx', ['-v'])}`,
  async start(hub) {
    const settings = { HUBMIRROR_SENDFILE: 'x-accel-redirect', HUBMIRROR_TRUST_PROXY: '127.0.0.1' }
    const behind = await spawnMirror(hub, settings)
    await untilUp(behind)
    const { url, directory } = behind
    const front = await startSendfileFront(url, path.join(directory, 'cache'))
    const stop = async () => {
      await front.stop()
      await behind.stop()
    }
    return { ...hubPaths('sendfile', { pid: behind.pid, url: front.url, stop }), frontPid: front.pid }
  },
}

/** The mirror on the Node that HUBMIRROR_BENCH_NODE names. */
const otherNode: Contestant = {
  name: 'otherNode',
  title: 'hubmirror, other Node',
  setup: 'HUBMIRROR_BENCH_NODE=/path/to/node',
  version: async () => `Node ${await versionOf(OTHER_NODE ?? '', ['--version'])}`,
  start: async (hub) => up('otherNode', await spawnMirror(hub, {}, OTHER_NODE)),
}

const nginx: Contestant = {
  name: 'nginx',
  title: 'nginx `careful.conf`',
  setup: 'bash nginx-compare/setup.sh',
  version: async () => `nginx ${await versionOf('nginx', ['-v'])}`,
  start: async (hub, { processes = 1 } = {}) =>
    hubPaths('nginx', await startedNginx('careful', { ...hub, workers: processes })),
}

const plainFiles: Contestant = {
  name: 'plainFiles',
  title: 'nginx `plain-files.conf`',
  setup: nginx.setup,
  version: () => nginx.version(),
  async start(hub) {
    const server = await startedNginx('plain-files', hub)
    const pathOf = (file: BenchFile): string => path.join(file.repo, file.path)
    return {
      ...server,
      name: 'plainFiles',
      fileUrl: (file) => `${server.url}/${pathOf(file)}`,
      put: (file) => writeContent(path.join(server.directory, 'static', pathOf(file)), file),
    }
  },
}

const olah: Contestant = {
  name: 'olah',
  title: 'olah',
  setup: 'bash test/bench/setup.sh',
  version: async () => `olah ${await versionOf(path.join(OLAH_FOLDER, 'python'), OLAH_VERSION)}`,
  async start(hub) {
    const server = await spawnServer((port, directory) => ({
      command: path.join(OLAH_FOLDER, 'olah-cli'),
      // Metadata stays fresh for an hour, so that stored files stay warm, as they do in the mirror and in nginx.
      args: `--host 127.0.0.1 --port ${port} --hf-scheme http --hf-netloc ${new URL(hub.url).host}
        --hf-lfs-netloc ${new URL(hub.cdnUrl).host} --mirror-netloc 127.0.0.1:${port}
        --mirror-lfs-netloc 127.0.0.1:${port} --repos-path ${path.join(directory, 'repos')}
        --log-path ${path.join(directory, 'logs')} --metadata-cache-ttl 3600`.split(/\s+/),
      env: {},
    }))
    return up('olah', server)
  },
}

/** All contestants, in the order of their turns and of the tables. */
export const CONTESTANTS: readonly Contestant[] = [
  mirror,
  sendfile,
  ...(OTHER_NODE === undefined ? [] : [otherNode]),
  nginx,
  plainFiles,
  olah,
]

async function startedNginx(config: NginxConfig, hub: Behind): Promise<Nginx> {
  const started = await startNginx(config, hub)
  return { ...started, url: `http://127.0.0.1:${started.port}` }
}

async function up(name: ContestantName, server: Spawned): Promise<Server> {
  await untilUp(server)
  return hubPaths(name, server)
}

/** A server with the same paths as the Hub. */
export function hubPaths(name: ContestantName, server: Pick<Spawned, 'pid' | 'url' | 'stop'>): Server {
  return {
    name,
    pid: server.pid,
    fileUrl: (file) => `${server.url}/${file.repo}/resolve/${file.commit}/${file.path}`,
    stop: () => server.stop(),
  }
}

function writeContent(target: string, { content }: BenchFile): void {
  mkdirSync(path.dirname(target), { recursive: true })
  const descriptor = openSync(target, 'w')
  for (const piece of content.pieces(0, content.sizeBytes)) writeSync(descriptor, piece)
  closeSync(descriptor)
}
