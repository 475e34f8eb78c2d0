// The built mirror as a user starts it at a terminal: a real one, made by Python's pty module.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { describeClient } from '../../clients/support/tools.ts'
import { probe } from '../../hub-simulator/probe.ts'
import { World } from '../../hub-simulator/repos.ts'
import { type Hub, startHub } from '../../hub-simulator/server.ts'
import { eventually } from '../../support/eventually.ts'
import { isOpen } from '../../support/workers.ts'

const ENTRY = fileURLToPath(new URL('../../../dist/launch.cjs', import.meta.url))
/** Forwards the output of the terminal, types its own input, and closes the terminal at the end of the input. */
const PTY = `
import os, pty, select, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
typing = True
while True:
    ready, _, _ = select.select([terminal] + ([0] if typing else []), [], [])
    if terminal in ready:
        try:
            said = os.read(terminal, 65536)
        except OSError:
            break
        if not said:
            break
        os.write(1, said)
    if 0 in ready:
        keys = os.read(0, 100)
        if not keys:
            os.close(terminal)
            break
        os.write(terminal, keys)
_, status = os.waitpid(pid, 0)
print('ended with', os.waitstatus_to_exitcode(status))
`

let hub: Hub
let folder: string
let stop: (() => Promise<unknown>)[] = []

beforeEach(async () => {
  const world = new World()
  world.model('acme/open').commit({ 'small.json': '{"small":true}' })
  hub = await startHub({ world })
  folder = await mkdtemp(join(tmpdir(), 'hubmirror-terminal-'))
})

afterEach(async () => {
  for (const each of stop) await each()
  stop = []
  await hub.close()
  await rm(folder, { recursive: true, force: true })
})

function startAtTerminal(env: Record<string, string> = {}) {
  const child = spawn('python3', ['-c', PTY, process.execPath, ENTRY, 'serve'], {
    env: {
      PATH: process.env['PATH'],
      HOME: folder,
      TMPDIR: folder,
      TERM: 'xterm',
      HUBMIRROR_PORT: '0',
      HUBMIRROR_ORIGIN: hub.url,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
      HUBMIRROR_CACHE_DIR: join(folder, 'cache'),
      HUBMIRROR_DRAIN_DELAY: '1h',
      ...env,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let screen = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    screen += text
  })
  const closed = once(child, 'close')
  stop.push(() => {
    // The end of this process closes the terminal, which ends the mirror.
    child.kill('SIGKILL')
    return closed
  })
  // If it never does, the error shows the whole screen.
  const shows = async (pattern: RegExp) =>
    pattern.exec(
      await eventually(
        () => screen,
        (shown) => pattern.test(shown),
      ),
    )
  return { child, closed, screen: () => screen, shows }
}

describeClient('a mirror at a terminal', ['python3'], () => {
  it('the mirror prints its address and what clients need, then one readable line a request, and ends on Ctrl-C', async () => {
    const { child, closed, screen, shows } = startAtTerminal({ HUBMIRROR_BASE_PATH: '/hub' })
    const endpoint = (await shows(/export HF_ENDPOINT=(http:\/\/127\.0\.0\.1:\d+)\/hub\r\n/))?.[1] ?? ''
    await shows(/Stop +Ctrl-C/)
    expect(screen()).toMatch(new RegExp(`^hubmirror \\S+ stands in front of ${hub.url}\r\n`))
    expect(screen()).toContain(join(folder, 'cache'))
    expect(screen()).toContain(`curl ${endpoint}/readyz`)
    expect((await probe(`${endpoint}/readyz`)).status).toBe(200)
    expect((await probe(`${endpoint}/hub/acme/open/resolve/main/small.json`)).status).toBe(200)
    await shows(/GET 200 miss models\/acme\/open@main small\.json 14 B/)
    child.stdin.write('\u0003')
    await closed
    expect(screen()).toMatch(/ended with 0\r?\n$/)
    expect(screen()).toContain('closed')
    expect(screen()).not.toContain('{"level"')
  })

  it('the mirror prints the lines of workers in the same way', async () => {
    const { child, closed, screen, shows } = startAtTerminal({ HUBMIRROR_WORKERS: '2' })
    const endpoint = (await shows(/export HF_ENDPOINT=(http:\/\/127\.0\.0\.1:\d+)\r\n/))?.[1] ?? ''
    // Until the file is stored, which a slow disk may delay, its readers join the download.
    await eventually(
      async () => {
        expect((await probe(`${endpoint}/acme/open/resolve/main/small.json`)).status).toBe(200)
        return screen()
      },
      (shown) => /GET 200 hit models\/acme\/open@main small\.json 14 B/.test(shown),
    )
    expect(screen()).not.toContain('{"level"')
    child.stdin.write('\u0003')
    await closed
    expect(screen()).toMatch(/ended with 0\r?\n$/)
  })

  it.each([1, 2])('the mirror ends when the terminal closes (processes that answer: %i)', async (workers) => {
    const { child, closed, screen, shows } = startAtTerminal({ HUBMIRROR_WORKERS: String(workers) })
    const port = Number((await shows(/HF_ENDPOINT=http:\/\/127\.0\.0\.1:(\d+)\r\n/))?.[1])
    child.stdin.end()
    await closed
    // Of the signal, and in order.
    expect(screen()).toMatch(/ended with -1\r?\n$/)
    expect(await isOpen(port)).toBe(false)
    // Nothing is left where processes met.
    expect((await readdir(folder)).filter((name) => name.startsWith('hubmirror-'))).toEqual([])
  })
})
