// Reports to a running mirror what a command has removed from its store.

import { isRemovedAnswer, type Removed, removedTargets } from '../server/control.ts'
import { askMirror, isUnasked } from './prefetch/ask-mirror.ts'
import type { Reply } from './prefetch/control-client.ts'

/**
 * Has a running mirror forget what was removed, so that it neither serves it from memory nor counts it. Resolves with whether that
 * is done, which it is without a mirror; if not, a sentence on stderr says what that means.
 */
export async function notifyMirror(cacheDir: string, removed: Removed, program: string): Promise<boolean> {
  try {
    const isDone = ({ status, text }: Reply, target: string): boolean =>
      status === 200 && isRemovedAnswer(text, target)
    await askMirror(cacheDir, removedTargets(removed), { version: '', program, isDone })
    return true
  } catch (error) {
    if (!isUnasked(error)) throw error
    process.stderr.write(
      `hubmirror: ${error.message.replace(/\.$/, '')}. What was removed is gone from the store, but the mirror was not informed: ` +
        'it may serve some of it from memory until it is started again\n',
    )
    return false
  }
}
