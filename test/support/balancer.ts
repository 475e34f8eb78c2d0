// A real nginx or HAProxy before two mirrors, with the configuration that deploy/ has for it.

import { readFile } from 'node:fs/promises'
import { type FrontPlace, type FrontProcess, nginxConfig, startFrontProcess } from './front-process.ts'

export const BALANCERS = ['nginx', 'haproxy'] as const
export type Balancer = (typeof BALANCERS)[number]

const DEPLOY = new URL('../../deploy/', import.meta.url)

/** Starts it before the mirrors with these URLs and waits until it takes connections. Rejects with what it says. */
export async function startBalancer(
  kind: Balancer,
  mirrors: readonly [string, string],
): Promise<FrontProcess> {
  const name = `${kind}/hubmirror.${kind === 'nginx' ? 'conf' : 'cfg'}`
  const text = placed(await readFile(new URL(name, DEPLOY), 'utf8'), mirrors)
  return startFrontProcess(kind, (place) => filledIn(kind, text, place))
}

function filledIn(kind: Balancer, text: string, { port, directory }: FrontPlace): string {
  if (kind === 'nginx') return nginxConfig(text.replace('listen 80;', `listen 127.0.0.1:${port};`), directory)
  return text.replace('bind :80', `bind 127.0.0.1:${port}`).replace('inter 2s', 'inter 100ms')
}

/** The configuration with the mirrors' addresses in the place of the names in it. */
function placed(text: string, [a = '', b = '']: readonly string[]): string {
  const address = (url: string): string => url.replace('http://', '')
  return text.replace('mirror-a:8080', address(a)).replace('mirror-b:8080', address(b))
}
