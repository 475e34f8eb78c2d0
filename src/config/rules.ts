// What must hold between settings, each as a function with the cure in its answer. It sees parsed values only.
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Config, SettingName } from './keys.ts'

/** One condition between settings. It runs only when every setting it reads is itself right. */
export interface Rule {
  /** The setting that the fault is reported at. */
  readonly at: SettingName
  readonly reads: readonly SettingName[]
  /** What would be right; undefined when all is well. */
  readonly check: (config: Partial<Config>) => string | undefined
}

export const RULES: readonly Rule[] = [
  {
    at: 'origin',
    reads: ['origin', 'host', 'port'],
    check: ({ origin, host, port }) =>
      origin !== undefined &&
      host !== undefined &&
      portOf(origin) === port &&
      listensOn(host, origin.hostname)
        ? 'this is the address on which the mirror itself listens; expected the Hub or another mirror'
        : undefined,
  },
  {
    at: 'origin',
    reads: ['origin', 'publicUrl'],
    check: ({ origin, publicUrl }) =>
      origin !== undefined && origin.href === publicUrl?.href
        ? 'this is the public URL of the mirror itself; expected the Hub or another mirror'
        : undefined,
  },
]

function portOf(url: URL): number {
  if (url.port !== '') return Number(url.port)
  return url.protocol === 'https:' ? 443 : 80
}

/** Whether a server bound to `host` answers at `name`, as far as can be told without asking DNS. */
function listensOn(host: string, name: string): boolean {
  const asked = name.replace(/^\[|\]$/g, '').toLowerCase()
  if (asked === host) return true
  const loopbackName = asked === 'localhost' || asked.endsWith('.localhost')
  if (host === '0.0.0.0' || host === '::') {
    return loopbackName || isLoopback(asked) || asked === '0.0.0.0' || asked === '::' || isOwnAddress(asked)
  }
  if (host === 'localhost') return asked === '127.0.0.1' || asked === '::1'
  return loopbackName && (host === '127.0.0.1' || host === '::1')
}

function isLoopback(address: string): boolean {
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'))
}

function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some((own) => own.address === address))
}
