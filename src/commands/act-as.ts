// Commands that write into a store, run by root: as the user of the mirror, so that what they make is the mirror's.

import { mirrorUser } from '../store/replace.ts'

/**
 * Makes root's process that of the user that the mirror on this cache directory runs as; does nothing for anybody else,
 * and where that user is root. The real user stays, and with it the name in the audit log. Rejects where the system does
 * not allow it: what root would make then, the mirror could not change.
 */
export async function actAsMirrorUser(cacheDir: string): Promise<void> {
  const user = await mirrorUser(cacheDir)
  if (user === undefined || user.uid === 0 || process.geteuid?.() !== 0) return
  try {
    process.setgroups?.([user.gid])
    process.setegid?.(user.gid)
    process.seteuid?.(user.uid)
  } catch (error) {
    throw new Error(`root may not act as user ${user.uid}, whose store this is. Run this as that user`, {
      cause: error,
    })
  }
}
