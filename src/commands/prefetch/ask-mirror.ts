// Short questions to the mirror that has the store open, for commands that do their own work beside it.

import { findControlSocket } from '../../store/control-socket.ts'
import { AnswerBroken, ControlClient, type Reply } from './control-client.ts'
import { MirrorGone, MirrorSilent, probeMirror } from './silence.ts'

/** The mirror answers from its memory and the rows of its store. */
const WITHIN_MS = 30_000

/**
 * Asks one question after the other. Resolves with the answers, and with undefined if no mirror runs or it stops meanwhile.
 * Rejects with MirrorSilent if it does not answer one in time, and with UnusableControlSocket.
 */
export async function askMirror(
  cacheDir: string,
  targets: readonly string[],
  options: { readonly version: string; readonly program: string; readonly withinMs?: number },
): Promise<readonly Reply[] | undefined> {
  const { withinMs = WITHIN_MS, ...names } = options
  const socketPath = await findControlSocket(cacheDir)
  if (socketPath === undefined) return undefined
  const began = performance.now()
  const silent = () => MirrorSilent.of(cacheDir, performance.now() - began)
  const found = await probeMirror(socketPath, new AbortController().signal)
  if (found === 'silent') throw await silent()
  if (found === 'none') return undefined
  const client = new ControlClient(socketPath, names)
  const replies: Reply[] = []
  try {
    for (const target of targets) {
      const signal = AbortSignal.timeout(withinMs)
      try {
        replies.push(await client.ask(target, { signal }))
      } catch (error) {
        if (signal.aborted) throw await silent()
        if (error instanceof MirrorGone || error instanceof AnswerBroken) return undefined
        throw error
      }
    }
    return replies
  } finally {
    client.close()
  }
}
