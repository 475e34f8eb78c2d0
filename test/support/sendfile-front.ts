// A real nginx with deploy/nginx/sendfile.conf before one mirror. Only addresses and the folder of the store are filled in.
// It runs on a loopback port, in a directory of its own, as one process. Knows nothing of what is asked of it.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { eventually } from './eventually.ts'
import { freePort } from './free-port.ts'
import { isOpen } from './workers.ts'

export const SENDFILE_CONF = new URL('../../deploy/nginx/sendfile.conf', import.meta.url)

/** An nginx that runs. The caller must stop it. */
export interface SendfileFront {
  /** Without a slash at the end. */
  readonly url: string
  readonly pid: number
  /** What it wrote to its error log so far. */
  log(): string
  stop(): Promise<void>
}

/** Starts it before the mirror with this URL and store, and waits until it takes connections. Rejects with what it says. */
export async function startSendfileFront(mirrorUrl: string, cacheDir: string): Promise<SendfileFront> {
  const directory = await mkdtemp(join(tmpdir(), 'hubmirror-sendfile-'))
  const port = await freePort()
  const file = join(directory, 'nginx.conf')
  const text = await readFile(SENDFILE_CONF, 'utf8')
  await writeFile(file, filledIn(text, { port, directory, cacheDir, mirror: new URL(mirrorUrl).host }))
  const child = spawn('nginx', ['-c', file, '-p', directory, '-e', 'stderr'], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.setEncoding('utf8').on('data', (words: string) => {
    said += words
  })
  const ended = once(child, 'close')
  const stop = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await ended
    await rm(directory, { recursive: true, force: true })
  }
  try {
    await eventually(
      () => child.exitCode !== null || isOpen(port),
      (isThere) => isThere,
    )
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}: ${said}`)
  } catch (error) {
    await stop()
    throw error
  }
  return { url: `http://127.0.0.1:${port}`, pid: child.pid ?? 0, log: () => said, stop }
}

function filledIn(
  text: string,
  where: {
    readonly port: number
    readonly directory: string
    readonly cacheDir: string
    readonly mirror: string
  },
): string {
  const { port, directory, cacheDir, mirror } = where
  const placed = replaced(
    replaced(replaced(text, 'listen 80;', `listen 127.0.0.1:${port};`), '127.0.0.1:8080', mirror),
    'alias /var/cache/hubmirror/',
    `alias ${cacheDir}/`,
  )
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${directory}/${name};`,
  )
  // Without a master process nginx keeps the user that started it, to whom the store belongs.
  return `daemon off; master_process off; pid ${directory}/pid; events {}
http { access_log off; ${temporary.join(' ')}
${placed} }`
}

function replaced(text: string, what: string, by: string): string {
  if (!text.includes(what)) throw new Error(`deploy/nginx/sendfile.conf: expected ${what}`)
  return text.replace(what, by)
}
