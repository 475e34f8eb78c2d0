// A real nginx or HAProxy before two mirrors, with the configuration that deploy/ has for it.

import { readFile } from 'node:fs/promises'
import {
  type FrontPlace,
  type FrontProcess,
  filledIn,
  nginxConfig,
  startFrontProcess,
} from './front-process.ts'

export const BALANCERS = ['nginx', 'haproxy'] as const
export type Balancer = (typeof BALANCERS)[number]

const DEPLOY = new URL('../../deploy/', import.meta.url)

/** Starts it before the mirrors with these URLs and waits until it takes connections. Rejects with what it says. */
export async function startBalancer(
  kind: Balancer,
  mirrors: readonly [string, string],
): Promise<FrontProcess> {
  const name = `${kind}/hubmirror.${kind === 'nginx' ? 'conf' : 'cfg'}`
  const text = filledIn(`deploy/${name}`, await readFile(new URL(name, DEPLOY), 'utf8'), [
    ['mirror-a:8080', new URL(mirrors[0]).host],
    ['mirror-b:8080', new URL(mirrors[1]).host],
  ])
  return startFrontProcess(kind, (place) => placed(kind, text, place))
}

function placed(kind: Balancer, text: string, { port, directory }: FrontPlace): string {
  const at = `127.0.0.1:${port}`
  if (kind === 'nginx')
    return nginxConfig(filledIn('deploy/', text, [['listen 80;', `listen ${at};`]]), directory)
  return filledIn('deploy/', text, [
    ['bind :80', `bind ${at}`],
    ['inter 2s', 'inter 100ms'],
  ])
}
