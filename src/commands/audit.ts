// The audit log as a command appends to it: what an operator did, with the user of the operating system. Beside a
// mirror that appends to the same file: every line is one write to its end.

import { closeSync, fchownSync, openSync, unlinkSync, writeSync } from 'node:fs'
import { userInfo } from 'node:os'
import { errorCode } from '../store/atomic.ts'
import { mirrorUser, type User } from '../store/replace.ts'
import { type Act, type AuditTarget, actLine, UnusableAuditLog } from '../telemetry/audit.ts'

/** The acts of this process. */
export interface ActLog {
  /** Throws when the line cannot be written: the command ends then, and says so. */
  act(act: Act['act'], details: Act['details']): void
  close(): void
}

/**
 * Opens the log before anything is done, so that nothing is done that cannot be recorded. Lines for stdout go to
 * stderr: stdout is for the command's own result. A new file is made for the user that the mirror runs as, because the
 * mirror could not open it otherwise. Rejects with UnusableAuditLog.
 */
export async function openActLog(config: {
  readonly auditLog?: AuditTarget | undefined
  readonly cacheDir: string
}): Promise<ActLog> {
  const { auditLog: target } = config
  if (target === undefined) return { act() {}, close() {} }
  const name = target.kind === 'file' ? target.path : target.kind
  const fd = target.kind === 'file' ? openFile(target.path, await mirrorUser(config.cacheDir)) : 2
  return {
    act(act, details) {
      const bytes = Buffer.from(actLine({ act, by: operator(), details }, new Date()))
      try {
        for (let written = 0; written < bytes.length; ) written += writeSync(fd, bytes, written)
      } catch (error) {
        throw new UnusableAuditLog(name, error)
      }
    },
    close() {
      if (target.kind === 'file') closeSync(fd)
    },
  }
}

function openFile(path: string, reader: User | undefined): number {
  try {
    return makeFor(path, reader) ?? openSync(path, 'a', 0o600)
  } catch (error) {
    throw new UnusableAuditLog(path, error)
  }
}

/** Makes the file for another user; undefined where the file exists, or there is no other user. */
function makeFor(path: string, reader: User | undefined): number | undefined {
  const own = process.geteuid?.()
  if (reader === undefined || reader.uid === 0 || own === reader.uid) return undefined
  let fd: number
  try {
    fd = openSync(path, 'ax', 0o600)
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return undefined
    throw error
  }
  try {
    fchownSync(fd, reader.uid, reader.gid)
    return fd
  } catch (error) {
    closeSync(fd)
    unlinkSync(path)
    throw new Error(
      `it does not exist, and the mirror, which runs as user ${reader.uid}, could not open a file that you own. Run this command as that user, or as root`,
      { cause: error },
    )
  }
}

/** Whoever runs the command. A user without an entry in the system's list has a number only. */
function operator(): Act['by'] {
  const uid = process.getuid?.() ?? -1
  try {
    return { kind: 'os-user', name: userInfo().username, uid }
  } catch {
    return { kind: 'os-user', name: '', uid }
  }
}
