// Reports to a running mirror what a command has removed from its store.

import { type Removed, removedTargets } from '../server/control.ts'
import { UnusableControlSocket } from '../store/control-socket.ts'
import { askMirror } from './prefetch/ask-mirror.ts'
import { MirrorSilent } from './prefetch/silence.ts'

/**
 * Has a running mirror forget what was removed, so that it neither serves it from memory nor counts it. Resolves with whether that
 * is done, which it is without a mirror; if not, a sentence on stderr says what that means.
 */
export async function notifyMirror(cacheDir: string, removed: Removed, program: string): Promise<boolean> {
  try {
    await askMirror(cacheDir, removedTargets(removed), { version: '', program })
    return true
  } catch (error) {
    if (!(error instanceof UnusableControlSocket || error instanceof MirrorSilent)) throw error
    process.stderr.write(
      `hubmirror: ${error.message.replace(/\.$/, '')}. What was removed is gone from the store, but the mirror was not informed: ` +
        'it may serve some of it from memory until it is started again\n',
    )
    return false
  }
}
