// Short questions to the mirror that has the store open, for commands that do their own work beside it.

import { findControlSocket, UnusableControlSocket } from '../../store/control-socket.ts'
import { AnswerBroken, ControlClient, type Reply, refusalText } from './control-client.ts'
import { MirrorGone, MirrorSilent, probeMirror } from './silence.ts'

/** The mirror answers from its memory and the rows of its store. */
const WITHIN_MS = 30_000

/** The mirror is there, and has not done what the command has asked for. The message says why, and what to do. */
export class MirrorFailed extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'MirrorFailed'
  }

  static of(reply: Reply): MirrorFailed {
    const { status } = reply
    return new MirrorFailed(
      status === 200 || status === 404
        ? 'the mirror that has the store open does not understand this command, because it is of another version. ' +
            'Start it again with the version of this command'
        : `the mirror that has the store open has failed (${refusalText(reply)}). Look into its log, and start it again`,
    )
  }
}

/** Whether an error of `askMirror` says that a mirror is there, or may be, and was not asked. Its message says what to do. */
export function isUnasked(error: unknown): error is Error {
  return (
    error instanceof UnusableControlSocket || error instanceof MirrorSilent || error instanceof MirrorFailed
  )
}

/**
 * Asks one question after the other. Resolves with the answers, and with undefined if no mirror runs or it stops meanwhile.
 * Rejects with MirrorSilent if it does not answer one in time, with MirrorFailed if `isDone` rejects an answer or the mirror breaks the
 * connection and lives, and with UnusableControlSocket.
 */
export async function askMirror(
  cacheDir: string,
  targets: readonly string[],
  options: {
    readonly version: string
    readonly program: string
    readonly isDone: (reply: Reply, target: string) => boolean
    readonly withinMs?: number
  },
): Promise<readonly Reply[] | undefined> {
  const { withinMs = WITHIN_MS, isDone, ...names } = options
  const socketPath = await findControlSocket(cacheDir)
  if (socketPath === undefined) return undefined
  const began = performance.now()
  const isThere = async (): Promise<boolean> => {
    const found = await probeMirror(socketPath, new AbortController().signal)
    if (found === 'silent') throw await MirrorSilent.of(cacheDir, performance.now() - began)
    return found === 'answers'
  }
  if (!(await isThere())) return undefined
  const client = new ControlClient(socketPath, names)
  const replies: Reply[] = []
  try {
    for (const target of targets) {
      const signal = AbortSignal.timeout(withinMs)
      try {
        const reply = await client.ask(target, { signal })
        if (!isDone(reply, target)) throw MirrorFailed.of(reply)
        replies.push(reply)
      } catch (error) {
        if (signal.aborted) throw await MirrorSilent.of(cacheDir, performance.now() - began)
        if (error instanceof MirrorGone) return undefined
        if (!(error instanceof AnswerBroken)) throw error
        if (!(await isThere())) return undefined
        throw new MirrorFailed(
          'the mirror that has the store open broke the connection. Look into its log, and start it again',
        )
      }
    }
    return replies
  } finally {
    client.close()
  }
}
