// huggingface_hub as a process that answers one question after another (scripts/player.py). So a hundred questions do not
// cost a hundred starts of Python. By default it can reach the whole simulated internet.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { clientEnvironment } from '../clients/support/run.ts'
import { pythonOf, scriptPath } from '../clients/support/tools.ts'

/** One call. Without a token it is anonymous. */
export interface Call {
  readonly call: 'file' | 'snapshot' | 'list' | 'slice' | 'whoami'
  readonly repo?: string
  readonly path?: string
  readonly revision?: string
  readonly token?: string
  readonly start?: number
  readonly end?: number
}

export type Answer =
  | { readonly ok: true; readonly value: unknown }
  /** `error` is the class of the exception that the user would see. */
  | { readonly ok: false; readonly error: string; readonly text: string }

export interface Player {
  /** False once it had to be killed, because a call did not end. */
  readonly alive: boolean
  play(call: Call): Promise<Answer>
  stop(): Promise<void>
}

/** What a player is set up with. */
export interface PlayerOptions {
  readonly endpoint: string
  /** Whether it may reach the Hub and the CDN themselves, as in a network that is open to the internet. */
  readonly direct: boolean
  /** Whether hf_xet may be used. */
  readonly xet: boolean
}

/** Longer than a client that means to succeed takes, so that one that hangs gets a name. */
const CALL_WITHIN_MS = 60_000
/** hf_xet tries for minutes to reach Xet storage, which the simulator does not play. */
const XET_WITHIN_MS = 10_000

/** Starts Python with the newest huggingface_hub. The caller must stop it. */
export async function startPlayer(options: PlayerOptions): Promise<Player> {
  const home = await mkdtemp(join(tmpdir(), 'hubmirror-player-'))
  const child = spawn(pythonOf('hub-2'), [scriptPath('player.py')], {
    cwd: home,
    env: {
      ...clientEnvironment({ home, direct: options.direct }),
      HF_ENDPOINT: options.endpoint,
      HF_HUB_DISABLE_PROGRESS_BARS: '1',
      HF_HUB_DISABLE_TELEMETRY: '1',
      // How long a body may stay silent, after which the client tries again. Ten seconds by default.
      HF_HUB_DOWNLOAD_TIMEOUT: '2',
      ...(options.xet ? {} : { HF_HUB_DISABLE_XET: '1' }),
    },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  let complaints = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints += text
  })
  const closed = once(child, 'close')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()

  const play = async (call: Call): Promise<Answer> => {
    child.stdin.write(`${JSON.stringify(call)}\n`)
    const timer = setTimeout(() => child.kill('SIGKILL'), options.xet ? XET_WITHIN_MS : CALL_WITHIN_MS)
    const line = await lines.next()
    clearTimeout(timer)
    if (child.killed) return { ok: false, error: 'hangs', text: '' }
    if (line.done === true) throw new Error(`the player ended:\n${complaints}`)
    return JSON.parse(line.value) as Answer
  }
  const stop = async () => {
    child.stdin.end()
    await closed
    await rm(home, { recursive: true, force: true })
  }
  return {
    get alive() {
      return !child.killed
    },
    play,
    stop,
  }
}
