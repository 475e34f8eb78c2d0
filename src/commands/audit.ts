// The audit log as a command appends to it: what an operator did, with the user of the operating system. Beside a
// mirror that appends to the same file: every line is one write to its end.

import { closeSync, openSync, writeSync } from 'node:fs'
import { userInfo } from 'node:os'
import { type Act, type AuditTarget, actLine, UnusableAuditLog } from '../telemetry/audit.ts'

/** The acts of this process. */
export interface ActLog {
  /** Throws when the line cannot be written: the command ends then, and says so. */
  act(act: Act['act'], details: Act['details']): void
  close(): void
}

/**
 * Opens the log before anything is done, so that nothing is done that cannot be recorded. Lines for stdout go to
 * stderr: stdout is for the command's own result. Throws UnusableAuditLog.
 */
export function openActLog(target: AuditTarget | undefined): ActLog {
  if (target === undefined) return { act() {}, close() {} }
  const name = target.kind === 'file' ? target.path : target.kind
  const fd = target.kind === 'file' ? openFile(target.path) : 2
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

function openFile(path: string): number {
  try {
    return openSync(path, 'a', 0o600)
  } catch (error) {
    throw new UnusableAuditLog(path, error)
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
