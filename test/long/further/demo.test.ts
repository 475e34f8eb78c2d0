// The demo as a new user runs it: it says what to try, and ends with a page of what the mirror has counted.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { expect, it, onTestFinished } from 'vitest'
import { probe } from '../../hub-simulator/probe.ts'
import { eventually } from '../../support/eventually.ts'
import { freePort } from '../../support/free-port.ts'
import { ROOT } from '../../support/run-cli.ts'
import { whenIdle } from '../../support/start-mirror.ts'

it('the demo says what to try, and ends with figures and without leftovers', async () => {
  const port = String(await freePort())
  const demo = spawn(process.execPath, ['--import', 'tsx', 'test/hub-simulator/demo.ts', '--port', port], {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const ended = once(demo, 'exit')
  onTestFinished(async () => {
    demo.kill('SIGKILL')
    await ended
  })
  let said = ''
  const hear = (chunk: Buffer): void => {
    said += chunk.toString()
  }
  demo.stdout.on('data', hear)
  demo.stderr.on('data', hear)
  await eventually(
    () => said,
    (text) => text.includes('Ctrl-C ends both'),
    60_000,
  )
  const url = /export HF_ENDPOINT=(\S+) HF_HOME=(\S+)\/hf/.exec(said)
  const base = url?.[1] ?? ''
  for (const outcome of ['MISS', 'HIT']) {
    const answer = await probe(`${base}/acme/tiny-model/resolve/main/config.json`)
    expect([answer.status, answer.headers['x-cache']]).toEqual([200, outcome])
    // The file is stored a moment after it was sent. A request in between joins the download: COALESCED.
    await whenIdle(async () => (await probe(`${base}/metrics`)).body.toString())
  }
  demo.kill('SIGINT')
  expect(await ended).toEqual([0, null])
  const page = said.slice(said.indexOf('What the mirror has counted:'))
  expect(page.split('\n').length).toBeLessThan(15)
  expect(page).toMatch(/requests answered {2,}\d+ \([^)]*1 hit/)
  expect(page).toMatch(/bytes from the Hub {2,}[1-9]/)
  expect(page).toMatch(/files in the store {2,}1, /)
  expect(existsSync(url?.[2] ?? '')).toBe(false)
})
