// Clients that are asked for many things, each by one process as far as it can play several (scripts/many.py and many.mjs).

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { WITH_PARENT } from '../../support/with-parent.ts'
import type { Command } from '../matrix/client.ts'
import { clientEnvironment, run } from './run.ts'
import { scriptPath } from './tools.ts'

/** What came of one thing. */
export interface Played {
  readonly status: number | null
  readonly said: string
  /** For how many seconds, in turn, the client would have waited; of Python only. */
  readonly waits: readonly number[]
}

/** The caller must stop it. */
export interface Many {
  play(command: Command): Promise<Played>
  stop(): Promise<void>
}

/** Longer than any client takes that does not hang. */
const WITHIN_MS = 90_000

/** Plays commands that differ in their arguments, and in nothing else if they are scripts. `newHome` makes an empty home. */
export function openMany(newHome: () => Promise<string>): Many {
  let player: ReturnType<typeof startPlayer> | undefined
  return {
    async play(command) {
      const [script = '', ...args] = command.args
      if (!/\.(py|mjs)$/.test(script)) {
        const home = await newHome()
        const ended = await run(command.command, command.args, {
          home,
          ...(command.env === undefined ? {} : { env: command.env }),
        })
        return { status: ended.status, said: ended.stdout + ended.stderr, waits: [] }
      }
      player ??= startPlayer(command, script, await newHome())
      return player.play(args)
    },
    async stop() {
      await player?.stop()
    },
  }
}

function startPlayer({ command, env, cwd }: Command, script: string, home: string) {
  const many = scriptPath(script.endsWith('.py') ? 'many.py' : 'many.mjs')
  const [first, ...rest] = [...WITH_PARENT, command, many, script]
  const child = spawn(first, rest, {
    cwd: cwd ?? home,
    env: { ...clientEnvironment({ home }), ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints += text
  })
  const closed = once(child, 'close')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async play(args: readonly string[]): Promise<Played> {
      child.stdin.write(`${JSON.stringify(args)}\n`)
      const timer = setTimeout(() => child.kill('SIGKILL'), WITHIN_MS)
      let line = await lines.next()
      // Some libraries write to the standard output themselves.
      while (line.done !== true && !line.value.startsWith('{"status"')) line = await lines.next()
      clearTimeout(timer)
      if (line.done === true)
        throw new Error(`${script} ${args.join(' ')} has ended the process: ${complaints}`)
      return JSON.parse(line.value) as Played
    },
    async stop(): Promise<void> {
      child.stdin.end()
      await closed
    },
  }
}
