// The first text that the mirror prints at a terminal: where it listens, what clients need, and what to try next.

import { writeSync } from 'node:fs'
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
  { version, port }: { readonly version: string; readonly port: number },
): string {
  const path = config.basePath === '/' ? '' : config.basePath
  const listening = `http://${inUrl(config.host)}:${port}`
  // Clients cannot connect to the address that stands for all interfaces.
  const isEverywhere = config.host === '0.0.0.0' || config.host === '::'
  const reached = `http://${isEverywhere ? hostname() : inUrl(config.host)}:${port}`
  const endpoint =
    config.publicUrl === undefined ? reached + path : withoutTrailingSlash(config.publicUrl.href)
  const own = isEverywhere ? `http://127.0.0.1:${port}` : listening
  const rows = [
    ['Listening', listening],
    ['Clients need', `export HF_ENDPOINT=${endpoint}`],
    ['Store', config.cacheDir],
    ['Look next', `curl ${own}/readyz    whether the mirror can do its job`],
    ['', `hubmirror ls    what is stored; hubmirror --help    all commands and settings`],
    ['Stop', 'Ctrl-C'],
  ] as const
  const offline = config.offline ? ', offline' : ''
  const lines = rows.map(([name, value]) => `  ${name.padEnd(14)}${value}\n`)
  return `hubmirror ${version} stands in front of ${withoutTrailingSlash(config.origin.href)}${offline}\n\n${lines.join('')}\n`
}

function inUrl(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
