// Records what was decided about the caller's right, for the audit log. Decides nothing itself.

import { deniesRepo, isBadToken, type Refusal } from '../../hub/refusal.ts'
import type { AccessNote, AuditReason } from '../../telemetry/audit.ts'
import type { Observer } from '../../telemetry/observer.ts'
import type { Ctx } from '../context.ts'

/** The caller is allowed. */
export function noteAllowed(access: AccessNote, reason: AuditReason): void {
  access.decision = 'allowed'
  access.reason = reason
  access.code = undefined
}

/** A rule lets the caller read what is stored of a restricted repo, while the Hub cannot be asked. */
export function noteServed(
  { access, admission }: Pick<Ctx, 'access' | 'admission'>,
  observer: Pick<Observer, 'policyDecided'>,
): void {
  noteAllowed(access, 'rule')
  const { servedBy: rule } = admission ?? {}
  if (rule === undefined) return
  access.rule = access.rule === undefined ? rule : `${access.rule},${rule}`
  observer.policyDecided(rule, 'serve-stored')
}

/** The Hub answered this caller's own request, about a repo that is public or not. */
export function noteAnswered(
  { access, authorization }: { readonly access: AccessNote; readonly authorization: string | undefined },
  isPublic: boolean,
): void {
  noteAllowed(access, isPublic || authorization === undefined ? 'public' : 'proved')
}

/** The Hub refused: the caller, the caller for now (out of quota), or only something that a visible repo does not have. */
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
