// Checks across several settings. Each is a function over parsed values that returns the cure.
import { isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import type { Config, SettingName } from './keys.ts'

/** One condition across settings. It runs only if every setting that it reads is valid by itself. */
interface CrossCheck {
  /** The setting at which the fault is reported. */
  readonly at: SettingName
  readonly reads: readonly SettingName[]
  /** Returns what would be right; undefined if the settings are fine. */
  readonly check: (config: Partial<Config>) => string | undefined
}

export const CROSS_CHECKS: readonly CrossCheck[] = [
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
  {
    at: 'tlsCert',
    reads: ['tlsCert', 'tlsKey'],
    check: ({ tlsCert, tlsKey }) =>
      tlsCert !== undefined && tlsKey === undefined
        ? 'a certificate needs its private key; set HUBMIRROR_TLS_KEY to the file of the key as well'
        : undefined,
  },
  {
    at: 'tlsKey',
    reads: ['tlsCert', 'tlsKey'],
    check: ({ tlsCert, tlsKey }) =>
      tlsKey !== undefined && tlsCert === undefined
        ? 'a private key needs its certificate; set HUBMIRROR_TLS_CERT to the file of the certificate as well'
        : undefined,
  },
  {
    at: 'tlsClientCa',
    reads: ['tlsCert', 'tlsClientCa'],
    check: ({ tlsCert, tlsClientCa }) =>
      tlsClientCa !== undefined && tlsCert === undefined
        ? 'certificates of clients need TLS; set HUBMIRROR_TLS_CERT and HUBMIRROR_TLS_KEY as well'
        : undefined,
  },
  {
    at: 'sendfile',
    reads: ['sendfile', 'checkReadsMs'],
    check: ({ sendfile, checkReadsMs }) =>
      sendfile !== 'off' && checkReadsMs !== undefined
        ? 'a front proxy reads files without checking them; expected off, or HUBMIRROR_CHECK_READS=off'
        : undefined,
  },
  {
    at: 'sendfile',
    reads: ['sendfile', 'trustProxy'],
    check: ({ sendfile, trustProxy }) =>
      sendfile !== 'off' && trustProxy?.length === 0
        ? 'no proxy is trusted; expected the address of the front proxy in HUBMIRROR_TRUST_PROXY'
        : undefined,
  },
  {
    at: 'sendfile',
    reads: ['sendfile', 'workers'],
    check: ({ sendfile, workers }) =>
      sendfile !== 'off' && workers !== 1
        ? 'workers and a front proxy do not send files together; expected off, or HUBMIRROR_WORKERS=1'
        : undefined,
  },
]

function portOf(url: URL): number {
  if (url.port !== '') return Number(url.port)
  return url.protocol === 'https:' ? 443 : 80
}

/** Whether a server that listens on `host` answers at `name`, as far as this is known without DNS. */
function listensOn(host: string, name: string): boolean {
  const target = name.replace(/^\[|\]$/g, '').toLowerCase()
  if (target === host) return true
  const loopbackName = target === 'localhost' || target.endsWith('.localhost')
  if (host === '0.0.0.0' || host === '::') {
    return (
      loopbackName || isLoopback(target) || target === '0.0.0.0' || target === '::' || isOwnAddress(target)
    )
  }
  if (host === 'localhost') return target === '127.0.0.1' || target === '::1'
  return loopbackName && (host === '127.0.0.1' || host === '::1')
}

function isLoopback(address: string): boolean {
  return address === '::1' || (isIP(address) === 4 && address.startsWith('127.'))
}

function isOwnAddress(address: string): boolean {
  return Object.values(networkInterfaces()).some((list) => list?.some((own) => own.address === address))
}
