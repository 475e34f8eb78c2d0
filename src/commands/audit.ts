// Appends the acts of a command to the audit log, with the user of the operating system. A mirror may append to the same file
// at the same time, because every line is one write to the end of the file.

import { closeSync, fchownSync, openSync, unlinkSync, writeFileSync } from 'node:fs'
import { userInfo } from 'node:os'
import { errorCode } from '../store/atomic.ts'
import { mirrorUser, type User } from '../store/replace.ts'
import { type Act, type AuditTarget, actLine, UnusableAuditLog } from '../telemetry/audit.ts'

/** The audit log of this process. */
export interface ActLog {
  /** Writes one line. Throws UnusableAuditLog if it cannot be written; the command must end then. */
  act(act: Act['act'], details: Act['details']): void
  close(): void
}

/**
 * Opens the audit log. Commands call it before they change anything, so that every change can be recorded. Lines for stdout
 * go to stderr, because stdout is for the result of the command. A new file is owned by the user that the mirror runs as,
 * else the mirror could not open it. Rejects with UnusableAuditLog.
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
        writeFileSync(fd, bytes)
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

/** Creates the file for another user. Returns undefined if the file exists, or if there is no other user. */
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

/** The user who runs the command. A user that the system does not list has only a number. */
function operator(): Act['by'] {
  const uid = process.getuid?.() ?? -1
  try {
    return { kind: 'os-user', name: userInfo().username, uid }
  } catch {
    return { kind: 'os-user', name: '', uid }
  }
}
