// The proxies of docs/deploy.md as processes on loopback, with the very configuration that stands there: only addresses
// are filled in. They are brought by test/deploy/setup.sh.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { commandOf } from '../clients/support/tools.ts'
import { ask } from '../support/ask.ts'
import { GOOD_CERTIFICATE, SERVER_KEY } from '../support/certificates.ts'
import { eventually } from '../support/eventually.ts'
import {
  type FrontPlace,
  type FrontProcess,
  type FrontProgram,
  filledIn,
  nginxConfig,
  startFrontProcess,
} from '../support/front-process.ts'

const DOCS = fileURLToPath(new URL('../../docs/deploy.md', import.meta.url))

export const FRONTS = ['nginx', 'HAProxy', 'Caddy', 'Envoy'] as const
export type FrontName = (typeof FRONTS)[number]

/** The program of a front: a command, or a path. */
export const PROGRAMS: Readonly<Record<FrontName, string>> = {
  nginx: 'nginx',
  HAProxy: 'haproxy',
  Caddy: 'caddy',
  Envoy: commandOf('envoy', 'envoy'),
}

/** The block of configuration that the documentation shows for a front. Throws where there is none. */
export function documented(name: string): string {
  const text = readFileSync(DOCS, 'utf8')
  const block = new RegExp(`^For ${name}\\b[^\\n]*:\\n\\n\`\`\`\\n([\\s\\S]*?)\`\`\``, 'm').exec(text)?.[1]
  if (block === undefined) throw new Error(`docs/deploy.md shows no configuration for ${name}`)
  return block
}

/**
 * Starts a front before the mirror at `mirrorUrl` and waits until it passes /healthz on. Rejects with what it said if not.
 * With `tls` it speaks TLS with its clients, which know it as `localhost`; Envoy does not.
 */
export async function startFront(
  name: FrontName,
  mirrorUrl: string,
  options: { readonly config?: string; readonly tls?: boolean } = {},
): Promise<FrontProcess> {
  const config = options.config ?? documented(name)
  const { port } = new URL(mirrorUrl)
  const host = `127.0.0.1:${port}`
  const started = await startFrontProcess(
    name.toLowerCase() as FrontProgram,
    (place) => {
      const tls = options.tls === true ? certificateFiles(place.directory) : undefined
      return placed(name, config, { ...place, host, mirrorPort: port, tls })
    },
    PROGRAMS[name],
  )
  const front =
    options.tls === true
      ? { ...started, url: started.url.replace('http://127.0.0.1', 'https://localhost') }
      : started
  try {
    await eventually(
      () => statusOf(front.url),
      (status) => status === 200,
    )
  } catch (error) {
    await front.stop()
    throw new Error(`${name} does not pass requests on: ${String(error)}\n${front.log()}`, { cause: error })
  }
  return front
}

async function statusOf(url: string): Promise<number> {
  return ask(url, '/healthz').then(
    ({ status }) => status,
    () => 0,
  )
}

interface CertificateFiles {
  readonly cert: string
  readonly key: string
  /** Both in one file, as HAProxy wants them. */
  readonly both: string
}

function certificateFiles(directory: string): CertificateFiles {
  const file = (name: string, text: string): string => {
    const path = join(directory, name)
    writeFileSync(path, text)
    return path
  }
  return {
    cert: file('tls.crt', GOOD_CERTIFICATE),
    key: file('tls.key', SERVER_KEY),
    both: file('tls.pem', GOOD_CERTIFICATE + SERVER_KEY),
  }
}

function placed(
  name: FrontName,
  text: string,
  where: FrontPlace & {
    readonly host: string
    readonly mirrorPort: string
    readonly tls: CertificateFiles | undefined
  },
): string {
  const { port, directory, host, mirrorPort, tls } = where
  const fill = (...replacements: [string, string][]) => filledIn('docs/deploy.md', text, replacements)
  switch (name) {
    case 'nginx':
      return nginxConfig(
        fill(
          [
            'listen 80;',
            `listen 127.0.0.1:${port}${tls ? ` ssl; ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key}` : ''};`,
          ],
          ['127.0.0.1:8080', host],
        ),
        directory,
      )
    case 'HAProxy':
      return fill(
        ['bind :80', `bind 127.0.0.1:${port}${tls ? ` ssl crt ${tls.both}` : ''}`],
        ['127.0.0.1:8080', host],
      )
    case 'Caddy':
      // Otherwise Caddy would listen on port 80, too.
      return `{\n  admin off\n  auto_https disable_redirects\n}\n${fill(
        [
          ':80 {',
          tls
            ? `https://localhost:${port} {\n    bind 127.0.0.1\n    tls ${tls.cert} ${tls.key}`
            : `http://127.0.0.1:${port} {`,
        ],
        ['127.0.0.1:8080', host],
      )}`
    case 'Envoy':
      return fill(
        ['address: 0.0.0.0, port_value: 80 ', `address: 127.0.0.1, port_value: ${port} `],
        ['port_value: 8080', `port_value: ${mirrorPort}`],
      )
    default:
      return name satisfies never
  }
}
