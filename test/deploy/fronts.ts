// The proxies of docs/deploy.md as processes on loopback, with the very configuration that stands there: only addresses
// are filled in. They are brought by test/deploy/setup.sh.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { commandOf } from '../clients/support/tools.ts'
import { ask } from '../support/ask.ts'
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

/** Starts a front before the mirror at `mirrorUrl` and waits until it passes /healthz on. Rejects with what it said if not. */
export async function startFront(
  name: FrontName,
  mirrorUrl: string,
  options: { readonly config?: string } = {},
): Promise<FrontProcess> {
  const config = options.config ?? documented(name)
  const { host, port } = new URL(mirrorUrl)
  const front = await startFrontProcess(
    name.toLowerCase() as FrontProgram,
    (place) => placed(name, config, { ...place, host, mirrorPort: port }),
    PROGRAMS[name],
  )
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

function placed(
  name: FrontName,
  text: string,
  where: FrontPlace & { readonly host: string; readonly mirrorPort: string },
): string {
  const { port, directory, host, mirrorPort } = where
  const fill = (...replacements: [string, string][]) => filledIn('docs/deploy.md', text, replacements)
  switch (name) {
    case 'nginx':
      return nginxConfig(`server { listen 127.0.0.1:${port};\n${fill(['127.0.0.1:8080', host])} }`, directory)
    case 'HAProxy':
      return fill(['bind :80', `bind 127.0.0.1:${port}`], ['127.0.0.1:8080', host])
    case 'Caddy':
      return `{\n  admin off\n}\n${fill([':80 {', `http://127.0.0.1:${port} {`], ['127.0.0.1:8080', host])}`
    case 'Envoy':
      return fill(
        ['address: 0.0.0.0, port_value: 80 ', `address: 127.0.0.1, port_value: ${port} `],
        ['port_value: 8080', `port_value: ${mirrorPort}`],
      )
    default:
      return name satisfies never
  }
}
