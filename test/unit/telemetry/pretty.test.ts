import { expect, it } from 'vitest'
import { createLogger, logRequest } from '../../../src/telemetry/log.ts'
import { prettyDestination, prettyLine } from '../../../src/telemetry/pretty.ts'

const REQUEST = {
  requestId: 'r-1',
  method: 'GET',
  route: 'file',
  about: { repo: 'models/acme/open', revision: 'main', path: 'config.json' },
  status: 200,
  outcome: 'hit',
  bytes: 2_000,
  originTrips: 0,
  totalMs: 1.25,
  client: '127.0.0.1',
} as const

/** The lines that a terminal shows for log lines. */
async function shown(log: (logger: ReturnType<typeof createLogger>) => void): Promise<string[]> {
  let said = ''
  const out = { write: (text: string) => void (said += text) }
  const logger = createLogger({ level: 'info', destination: prettyDestination(out, false) })
  log(logger)
  await new Promise((resolve) => setImmediate(resolve))
  return said.split('\n').slice(0, -1)
}

it('a request is one short line', async () => {
  const [line] = await shown((logger) => logRequest(logger, REQUEST))
  expect(line).toMatch(/^\d\d:\d\d:\d\d GET 200 hit models\/acme\/open@main config\.json 2 kB 1\.3 ms$/)
})

it('every other record has its level and its fields', async () => {
  const lines = await shown((logger) => {
    logger.info({ signal: 'SIGINT', delayMs: 0 }, 'draining')
    logger.warn({ settings: ['port'] }, 'these settings need a restart')
    logger.error({ err: Object.assign(new Error('no space left'), { code: 'ENOSPC' }) }, 'the store fails')
  })
  expect(lines.map((line) => line.slice(9))).toEqual([
    'INFO  draining  signal=SIGINT  delayMs=0',
    'WARN  these settings need a restart  settings=["port"]',
    'ERROR the store fails  ENOSPC: no space left',
  ])
})

it('nothing that callers send moves the cursor of the terminal', async () => {
  const path = '\u001b[2J\u001b]0;owned\u0007\r\u009b31m\u202e.json'
  const lines = await shown((logger) => {
    logRequest(logger, { ...REQUEST, about: { ...REQUEST.about, path } })
    logger.info({ path, [path]: 1 }, path)
  })
  expect(lines).toHaveLength(2)
  for (const line of lines) expect(line).not.toMatch(/[\p{Cc}\u202e]/u)
  expect(lines[0]).toContain('\\u001b[2J')
})

it('a line that is no JSON is shown unchanged, and colours appear only if they are wanted', () => {
  expect(prettyLine('not JSON')).toBe('not JSON')
  const line = JSON.stringify({ level: 'error', time: '2026-01-01T00:00:00.000Z', msg: 'x' })
  expect(prettyLine(line, true)).toContain('\u001b[31mERROR\u001b[39m')
  expect(prettyLine(line, false)).not.toContain('\u001b')
})
