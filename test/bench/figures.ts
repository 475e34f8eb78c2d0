// The figures that many kinds of work share: their titles, and how they follow from what a run cost.

import type { Usage } from './bench.ts'
import type { FigureSpec, Goal } from './report.ts'

const MIB = 1024 ** 2
const GIB = 1024 ** 3

/** A figure, with a goal or without. */
type Spec = (goal?: Goal) => FigureSpec

function spec(better: FigureSpec['better']) {
  return (title: string, unit: FigureSpec['unit']): Spec =>
    (goal) => ({ title, unit, better, ...(goal === undefined ? {} : { goal }) })
}

const less = spec('less')
const more = spec('more')

export const wall = less('wall time', 's')
/** For a Hub that is far away: the same client also goes there itself. */
export const toStraight = less('wall time to that straight from the Hub', 'x')
export const firstByte = less('time to first byte, median', 'ms')
export const p50 = less('latency, median', 'ms')
export const p99 = less('latency, p99', 'ms')
export const perCore = more('requests per CPU second', '/s')
export const perSecond = more('requests per second', '/s')
export const rss = less('peak RSS', 'MiB')
export const rssGrowth = less('peak RSS above that at the start', 'MiB')
export const cpuPerGib = less('CPU seconds per GiB', 's')
const originRequests = less('requests to the origin', '')

/** Figures for large bodies. */
export function bulkCosts(goals: { readonly cpu?: Goal; readonly rss?: Goal; readonly bytes?: Goal } = {}) {
  return {
    cpu: cpuPerGib(goals.cpu),
    rss: rss(goals.rss),
    originRequests: originRequests(),
    originBytes: less('bytes from the origin, relative to the file', 'x')(goals.bytes),
  }
}

export function bulkValues(usage: Usage, bytes: { readonly served: number; readonly file: number }) {
  return {
    cpu: usage.cpuSeconds / (bytes.served / GIB),
    rss: usage.peakRssBytes / MIB,
    originRequests: usage.originRequests,
    originBytes: usage.originBytes / bytes.file,
  }
}

/** Figures for the start of a mirror on a store. */
export function startCosts(goals: { readonly start?: Goal } = {}) {
  return {
    first: less('time to the first HEAD', 's')(goals.start),
    ready: less('time to /readyz', 's')(goals.start),
    counted: less('time to count all files', 's')(),
    slowest: less('slowest HEAD until then', 'ms')(),
  }
}

/** Figures for many small requests. */
export function requestCosts(goals: { readonly cpu?: Goal; readonly bytes?: Goal } = {}) {
  return {
    cpu: less('CPU time per request', 'µs')(goals.cpu),
    rss: rss(),
    originRequests: less('requests to the origin, per request', '')(),
    originBytes: less('bytes from the origin, per request', 'KiB')(goals.bytes),
  }
}

export function requestValues(usage: Usage, requests: number) {
  return {
    cpu: (usage.cpuSeconds / requests) * 1e6,
    rss: usage.peakRssBytes / MIB,
    originRequests: usage.originRequests / requests,
    originBytes: usage.originBytes / requests / 1024,
  }
}

export function ratioAtMost(limit: number): Goal {
  return { of: 'ratio', atMost: limit }
}

export function ratioAtLeast(limit: number): Goal {
  return { of: 'ratio', atLeast: limit }
}

export function atMost(limit: number): Goal {
  return { of: 'value', atMost: limit }
}

export function atLeast(limit: number): Goal {
  return { of: 'value', atLeast: limit }
}
