// What was decided about the caller's right, noted for whoever keeps accounts. Decides nothing itself.

import { deniesRepo, isBadToken, type Refusal } from '../../hub/refusal.ts'
import type { AccessNote, AuditReason } from '../../telemetry/audit.ts'

/** The caller may. */
export function noteAllowed(access: AccessNote, reason: AuditReason): void {
  access.decision = 'allowed'
  access.reason = reason
  access.code = undefined
}

/** The Hub answered this caller's own question, about a repo that is everybody's or not. */
export function noteAnswered(
  { access, authorization }: { readonly access: AccessNote; readonly authorization: string | undefined },
  isPublic: boolean,
): void {
  noteAllowed(access, isPublic || authorization === undefined ? 'public' : 'proved')
}

/** The Hub said no: to the caller, for now (out of quota), or only that there is no such thing in a repo it showed. */
export function noteRefusal(
  access: AccessNote,
  refusal: Refusal,
  reason: 'hub' | 'remembered' = 'hub',
): void {
  const { status, code } = refusal
  const isNo = deniesRepo(refusal) || isBadToken(refusal) || status === 401 || status === 403
  access.decision = status === 429 ? 'limited' : isNo ? 'refused' : 'allowed'
  access.reason = status === 429 ? 'quota' : isNo ? reason : 'hub'
  access.code = code
}
