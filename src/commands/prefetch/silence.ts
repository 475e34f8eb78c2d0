// A limit on the silence of the mirror behind a control socket. One that was stopped (SIGSTOP) accepts connections, takes what
// fits into their buffers and never answers; one that hangs does the same. Work may take any time as long as the mirror lives,
// so what is limited is how long it does not say that it does.

import { request } from 'node:http'
import { errorCode } from '../../store/atomic.ts'
import { UnusableControlSocket } from '../../store/control-socket.ts'
import { createLayout } from '../../store/layout.ts'
import { lockOwner } from '../../store/lock.ts'

/** A mirror says that it lives within milliseconds, and within seconds when all cores are busy. */
const ANSWERS_WITHIN_MS = 5_000

interface Limits {
  /** How often a mirror is asked that has a request under way. */
  readonly everyMs: number
  /** How long each of two questions in a row may take. */
  readonly withinMs: number
}

const LIMITS: Limits = { everyMs: 10_000, withinMs: 15_000 }

/** The process behind the control socket has ended, or was never there. */
export class MirrorGone extends Error {
  constructor(cause?: unknown, message = 'the mirror has stopped') {
    super(message, { cause })
    this.name = 'MirrorGone'
  }
}

/** The mirror is there and does not answer. The message names its process, and says what to do. */
export class MirrorSilent extends MirrorGone {
  constructor(message: string) {
    super(undefined, message)
    this.name = 'MirrorSilent'
  }

  /** `silentMs` is how long it was waited for. */
  static async of(cacheDir: string, silentMs: number): Promise<MirrorSilent> {
    const pid = await lockOwner(createLayout(cacheDir))
    const [who, resume] =
      pid === undefined ? ['the mirror', 'kill -CONT'] : [`the mirror (process ${pid})`, `kill -CONT ${pid}`]
    return new MirrorSilent(
      `${who} has not answered for ${Math.round(silentMs / 1000)} s: it was stopped, or it hangs. Let it go on with ` +
        `${resume}, or end it and start it again`,
    )
  }
}

/**
 * Whether the process behind a socket answers: `silent` if it does not within `withinMs`, `none` if no process takes the request.
 * Rejects with UnusableControlSocket if this user may not connect, and with the reason of `interrupted`.
 */
export function probeMirror(
  socketPath: string,
  interrupted: AbortSignal,
  withinMs = ANSWERS_WITHIN_MS,
): Promise<'answers' | 'silent' | 'none'> {
  const limit = AbortSignal.timeout(withinMs)
  const signal = AbortSignal.any([interrupted, limit])
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { socketPath, path: '/healthz', headers: { host: 'localhost' }, signal },
      (answer) => {
        answer.resume()
        resolve('answers')
      },
    )
    outgoing.on('error', (error) => {
      if (interrupted.aborted) reject(interrupted.reason as Error)
      // EAGAIN: so many connections wait that the system takes no more.
      else if (limit.aborted || errorCode(error) === 'EAGAIN') resolve('silent')
      else if (errorCode(error) !== 'EACCES') resolve('none')
      else
        reject(
          new UnusableControlSocket(
            `${socketPath} can be used by the user of the mirror only. Run this command as that user, or as root.`,
          ),
        )
    })
    outgoing.end()
  })
}

/** A request, or the answer to one: what a silent mirror ends. */
interface Exchange {
  destroy(error: Error): unknown
}

/** Watches the mirror beside this process for as long as requests to it are under way, and ends them when it is silent. */
export class MirrorWatch {
  readonly #socketPath: string
  readonly #cacheDir: string
  readonly #limits: Limits
  readonly #exchanges = new Set<Exchange>()
  #timer: NodeJS.Timeout | undefined

  constructor(socketPath: string, cacheDir: string, limits = LIMITS) {
    this.#socketPath = socketPath
    this.#cacheDir = cacheDir
    this.#limits = limits
  }

  /** Destroys `exchange` with MirrorSilent when the mirror is silent, until the returned function is called. */
  begin(exchange: Exchange): () => void {
    this.#exchanges.add(exchange)
    if (this.#timer === undefined) this.#wait()
    return () => {
      this.#exchanges.delete(exchange)
      if (this.#exchanges.size > 0) return
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
  }

  #wait(): void {
    const timer = setTimeout(() => void this.#look(timer), this.#limits.everyMs)
    this.#timer = timer
  }

  async #look(timer: NodeJS.Timeout): Promise<void> {
    // Twice: this process may have been stopped itself, and then its first question was too late from the start.
    const isSilent = (await this.#isSilent()) && (await this.#isSilent())
    const silent = isSilent ? await MirrorSilent.of(this.#cacheDir, 2 * this.#limits.withinMs) : undefined
    // All requests may have ended meanwhile, and others begun.
    if (this.#timer !== timer) return
    if (silent === undefined) return this.#wait()
    this.#timer = undefined
    for (const exchange of this.#exchanges) exchange.destroy(silent)
    this.#exchanges.clear()
  }

  async #isSilent(): Promise<boolean> {
    const { signal } = new AbortController()
    // What else is wrong shows itself by the requests.
    const found = await probeMirror(this.#socketPath, signal, this.#limits.withinMs).catch(() => 'none')
    return found === 'silent'
  }
}
