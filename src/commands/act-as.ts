// Lets commands that root runs on a store act as the mirror's user, so that the files they create belong to that user.

import { mirrorUser } from '../store/replace.ts'

/**
 * If root runs this process, makes it act as the user of the mirror on this cache directory. Does nothing for any other
 * user, or if the mirror's user is root. The real user id stays, and with it the name in the audit log. Rejects if the system
 * does not allow the change, because the mirror could not change files that root creates.
 */
export async function actAsMirrorUser(cacheDir: string): Promise<void> {
  const user = await mirrorUser(cacheDir)
  if (user === undefined || user.uid === 0 || process.geteuid?.() !== 0) return
  try {
    process.setgroups?.([user.gid])
    process.setegid?.(user.gid)
    process.seteuid?.(user.uid)
  } catch (error) {
    throw new Error(
      `root cannot act as user ${user.uid}, who owns this store. Run this command as that user`,
      {
        cause: error,
      },
    )
  }
}
