// The files in deploy/ speak of settings and metrics by name. A name that the mirror does not know is an alert that
// never fires, or a container that does not start.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { METRICS } from '../../src/telemetry/metrics.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

function textsOf(folder: string): readonly [string, string][] {
  return readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .map((path) => [path.slice(ROOT.length), readFileSync(path, 'utf8')])
}

const FILES = [
  ...textsOf('deploy'),
  ['docs/deploy.md', readFileSync(join(ROOT, 'docs/deploy.md'), 'utf8')],
] as const

function namesIn(pattern: RegExp): Map<string, string> {
  return new Map(FILES.flatMap(([path, text]) => [...text.matchAll(pattern)].map(([name]) => [name, path])))
}

describe('deploy', () => {
  it('knows every metric that the alerts ask for', () => {
    const known = new Set<string>(Object.values(METRICS).map((metric) => metric.name))
    const asked = namesIn(/\bhubmirror_[a-z_]+/g)
    // Container and package names share the prefix; metrics are what Prometheus' files name.
    const unknown = [...asked].filter(([name, path]) => path.includes('prometheus') && !known.has(name))
    expect(asked.size).toBeGreaterThan(0)
    expect(unknown).toEqual([])
  })

  it('groups and selects by labels that the metrics carry', () => {
    const rules = FILES.find(([path]) => path.endsWith('prometheus/rules.yml'))?.[1] ?? ''
    const labels = new Set<string>(Object.values(METRICS).flatMap((metric) => [...metric.labels]))
    const asked = [
      ...[...rules.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list]) => (list ?? '').split(/,\s*/)),
      ...[...rules.matchAll(/hubmirror_[a-z_]+\{([a-z_]+)/g)].map(([, label]) => label ?? ''),
    ].filter((label) => label !== 'instance' && label !== 'job')
    expect(asked.length).toBeGreaterThan(0)
    expect(asked.filter((label) => !labels.has(label))).toEqual([])
  })

  it('sets no variable that the mirror would refuse', () => {
    const asked = namesIn(/\bHUBMIRROR_[A-Z_]+/g)
    expect(asked.size).toBeGreaterThan(5)
    for (const name of asked.keys()) {
      // An empty value counts as not given, so that only the name is judged.
      expect(() => loadConfig({ env: { [name]: '' } }), name).not.toThrow()
    }
    expect(() => loadConfig({ env: { HUBMIRROR_NO_SUCH_SETTING: '' } })).toThrow(/NO_SUCH_SETTING/)
  })
})

describe('a program that stops the mirror', () => {
  it.each([
    ['deploy/compose.yaml', /stop_grace_period: (\d+)s/],
    ['deploy/systemd/hubmirror.service', /TimeoutStopSec=(\d+)s/],
    ['docs/deploy.md', /terminationGracePeriodSeconds: (\d+)/],
  ])('waits longer than it takes by default: %s', (path, pattern) => {
    const { drainDelayMs, drainTimeoutMs } = loadConfig({ env: {} }).config
    const text = readFileSync(join(ROOT, path), 'utf8')
    const waitsMs = 1000 * Number(pattern.exec(text)?.[1])
    expect(waitsMs).toBeGreaterThanOrEqual(drainDelayMs + drainTimeoutMs + 5_000)
  })

  it('has seen that it is not ready before connections are refused: HAProxy', () => {
    const { drainDelayMs } = loadConfig({ env: {} }).config
    const text = readFileSync(join(ROOT, 'deploy/haproxy/hubmirror.cfg'), 'utf8')
    const [, seconds, checks] = /inter (\d+)s fall (\d+)/.exec(text) ?? []
    expect(1000 * Number(seconds) * Number(checks)).toBeLessThan(drainDelayMs)
  })
})
