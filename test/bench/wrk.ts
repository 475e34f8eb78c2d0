// Load by wrk, for measurements of growth. A client on Node takes as much of a core as the server that it asks, and would
// be all that is measured. wrk checks no body against its digest, so the caller must do that before.

import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** How to install it. */
export const WRK_SETUP = 'bash test/bench/setup.sh'

export interface WrkResult {
  readonly answers: number
  readonly seconds: number
  /** Median and 99th percentile of the latency, in milliseconds. */
  readonly waits: { readonly p50: number; readonly p99: number }
}

/** Whether wrk is installed. */
export function hasWrk(): Promise<boolean> {
  return run('sh', ['-c', 'command -v wrk']).then(
    () => true,
    () => false,
  )
}

/** Repeats GETs on kept connections for a number of whole seconds. Rejects when an answer was not 2xx, or broke off. */
export async function wrk(
  url: string,
  how: {
    readonly connections: number
    readonly seconds: number
    /** Lines that each request carries. */
    readonly headers?: readonly string[]
  },
): Promise<WrkResult> {
  const headers = (how.headers ?? []).flatMap((line) => ['-H', line])
  const args = ['-t1', `-c${how.connections}`, `-d${how.seconds}s`, '--latency', ...headers, url]
  const { stdout } = await run('wrk', args)
  const complaint = /^\s*(?:Socket errors|Non-2xx).*$/m.exec(stdout)?.[0].trim()
  if (complaint !== undefined) throw new Error(complaint)
  const [, answers, time] = /(\d+) requests in ([\d.]+m?s)/.exec(stdout) ?? []
  return {
    answers: Number(answers),
    seconds: milliseconds(time) / 1000,
    waits: { p50: waitIn(stdout, 50), p99: waitIn(stdout, 99) },
  }
}

function waitIn(text: string, percent: number): number {
  return milliseconds(new RegExp(`^\\s*${percent}%\\s+(\\S+)$`, 'm').exec(text)?.[1])
}

/** Parses `870.00us`, `1.23ms`, `1.50s`. */
function milliseconds(text = ''): number {
  const [, number, unit] = /^([\d.]+)(us|ms|s)$/.exec(text) ?? []
  const factor = { us: 0.001, ms: 1, s: 1000 }[unit ?? '']
  if (factor === undefined) throw new Error(`wrk says ${JSON.stringify(text)} where a time should be`)
  return Number(number) * factor
}
