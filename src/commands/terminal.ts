// The first text that the mirror prints at a terminal: where it listens, what clients need, and what to try next.

import { X509Certificate } from 'node:crypto'
import { writeSync } from 'node:fs'
import { isIP } from 'node:net'
import { hostname } from 'node:os'
import type { DestinationStream } from 'pino'
import type { Config } from '../config/keys.ts'
import { withoutTrailingSlash } from '../http/base-url.ts'

/** Writes to the terminal at stdout. Errors are ignored: after the terminal has closed, the text has no reader. */
export function terminalDestination(): DestinationStream {
  return {
    write(text) {
      try {
        writeSync(1, text)
      } catch {
        // The handler of SIGHUP decides whether the mirror ends with its terminal.
      }
    },
  }
}

/** The welcome text, including line ends. */
export function welcomeText(
  config: Pick<Config, 'host' | 'basePath' | 'publicUrl' | 'origin' | 'cacheDir' | 'offline'>,
  {
    version,
    port,
    certificate,
  }: {
    readonly version: string
    readonly port: number
    /** PEM, if the mirror speaks TLS itself. */
    readonly certificate?: string | undefined
  },
): string {
  const path = config.basePath === '/' ? '' : config.basePath
  const scheme = certificate === undefined ? 'http' : 'https'
  const listening = `${scheme}://${inUrl(config.host)}:${port}`
  // Clients cannot connect to the address that stands for all interfaces.
  const isEverywhere = config.host === '0.0.0.0' || config.host === '::'
  const host = isEverywhere ? hostname() : config.host
  const name = certificate === undefined ? host : nameInCertificate(certificate, host)
  const reached = `${scheme}://${inUrl(name)}:${port}`
  const endpoint =
    config.publicUrl === undefined ? reached + path : withoutTrailingSlash(config.publicUrl.href)
  const own = isEverywhere ? `${scheme}://127.0.0.1:${port}` : listening
  // The certificate may not name the address by which this machine reaches itself.
  const curl = certificate === undefined ? 'curl' : 'curl --insecure'
  const rows = [
    ['Listening', listening],
    ['Clients need', `export HF_ENDPOINT=${endpoint}`],
    ['Store', config.cacheDir],
    ['Look next', `${curl} ${own}/readyz    whether the mirror can do its job`],
    ['', `hubmirror ls    what is stored; hubmirror --help    all commands`],
    ['Stop', 'Ctrl-C'],
  ] as const
  const offline = config.offline ? ', offline' : ''
  const lines = rows.map(([name, value]) => `  ${name.padEnd(14)}${value}\n`)
  return `hubmirror ${version} stands in front of ${withoutTrailingSlash(config.origin.href)}${offline}\n\n${lines.join('')}\n`
}

/** A name that clients can use: `host` if the certificate is for it, otherwise the first name that the certificate is for. */
function nameInCertificate(pem: string, host: string): string {
  const certificate = new X509Certificate(pem)
  const isFor = isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host)
  if (isFor !== undefined) return host
  // 'DNS:hub.example.org, DNS:*.example.org, IP Address:10.1.2.3'
  const names = certificate.subjectAltName?.matchAll(/\b(?:DNS|IP Address):([\w.:-]+)/g) ?? []
  return [...names][0]?.[1] ?? host
}

function inUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
