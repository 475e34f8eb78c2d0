import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('..', import.meta.url))

function project(name: string, options: { timeoutMs: number; parallel?: boolean }) {
  return {
    root,
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      setupFiles: ['test/support/no-network.ts'],
      testTimeout: options.timeoutMs,
      hookTimeout: options.timeoutMs,
      fileParallelism: options.parallel ?? true,
    },
  }
}

export default defineConfig({
  root,
  test: {
    reporters: ['default', fileURLToPath(new URL('./support/count-reporter.ts', import.meta.url))],
    maxWorkers: 2,
    projects: [
      project('unit', { timeoutMs: 60_000 }),
      project('contract', { timeoutMs: 60_000 }),
      project('integration', { timeoutMs: 60_000 }),
      project('faults', { timeoutMs: 120_000 }),
      project('clients', { timeoutMs: 300_000, parallel: false }),
      project('cache-suite', { timeoutMs: 300_000, parallel: false }),
      project('deploy', { timeoutMs: 300_000, parallel: false }),
    ],
  },
})
