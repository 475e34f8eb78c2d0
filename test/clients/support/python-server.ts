// Scripts for Python, each in a process of its own that is forked from one which has imported most of what a client imports
// (scripts/forking.py). An import takes longer than what most scripts do.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll } from 'vitest'
import { WITH_PARENT } from '../../support/with-parent.ts'
import { clientEnvironment, type Finished, type RunOptions } from './run.ts'
import { pythonOf, scriptPath } from './tools.ts'

interface Server {
  run(args: readonly string[], options: RunOptions): Promise<Finished>
  stop(): Promise<void>
}

const servers = new Map<string, Server>()
afterAll(async () => {
  await Promise.all([...servers.values()].map((server) => server.stop()))
})

/** Runs a script in the environment `name`, as `run` would run it. A server of that environment stays until all tests have ended. */
export function runPython(name: string, args: readonly string[], options: RunOptions): Promise<Finished> {
  const server = servers.get(name) ?? startServer(name)
  servers.set(name, server)
  return server.run(args, options)
}

function startServer(name: string): Server {
  const folder = mkdtempSync(join(tmpdir(), 'hubmirror-python-'))
  const [command, ...rest] = [...WITH_PARENT, pythonOf(name), scriptPath('forking.py')]
  const child = spawn(command, rest, {
    cwd: folder,
    env: clientEnvironment({ home: folder }),
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const waiting = new Map<number, (status: number | Error) => void>()
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, status } = JSON.parse(line) as { id: number; status: number }
    waiting.get(id)?.(status)
    waiting.delete(id)
  })
  const exited = once(child, 'exit').then(([code]) => {
    for (const settle of waiting.values())
      settle(new Error(`the server of ${name} has ended with ${String(code)}`))
  })
  let tasks = 0
  return {
    async run(args, options) {
      tasks += 1
      const id = tasks
      const [out, err] = [join(folder, `${id}.out`), join(folder, `${id}.err`)]
      const env = { ...clientEnvironment(options), ...options.env }
      const ended = new Promise<number | Error>((settle) => waiting.set(id, settle))
      child.stdin.write(`${JSON.stringify({ id, args, env, cwd: options.cwd ?? options.home, out, err })}\n`)
      const status = await ended
      if (status instanceof Error) throw status
      const [stdout, stderr] = await Promise.all([out, err].map((path) => readFile(path, 'utf8')))
      return { status: status < 0 ? null : status, stdout: stdout ?? '', stderr: stderr ?? '' }
    },
    async stop() {
      child.stdin.end()
      await exited
      await rm(folder, { recursive: true, force: true })
    },
  }
}
