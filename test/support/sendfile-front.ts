// A real nginx with deploy/nginx/sendfile.conf before one mirror. Only addresses and the folder of the store are filled in.

import { readFile } from 'node:fs/promises'
import { type FrontProcess, filledIn, nginxConfig, startFrontProcess } from './front-process.ts'

export const SENDFILE_CONF = new URL('../../deploy/nginx/sendfile.conf', import.meta.url)

/** Starts it before the mirror with this URL and store, and waits until it takes connections. Rejects with what it says. */
export async function startSendfileFront(mirrorUrl: string, cacheDir: string): Promise<FrontProcess> {
  const text = await readFile(SENDFILE_CONF, 'utf8')
  return startFrontProcess('nginx', ({ port, directory }) => {
    const filled = filledIn('deploy/nginx/sendfile.conf', text, [
      ['listen 80;', `listen 127.0.0.1:${port};`],
      ['127.0.0.1:8080', new URL(mirrorUrl).host],
      // nginx runs as the user that started it, to whom the store belongs.
      ['alias /var/cache/hubmirror/', `alias ${cacheDir}/`],
    ])
    return nginxConfig(filled, directory)
  })
}
