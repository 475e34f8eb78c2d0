// Describes a mirror token as the Hub would describe its own: `hf auth login` and `hf auth whoami` ask, and the Hub does
// not know it.

import type { Caller } from '../callers/caller.ts'
import type { AccessNote } from '../telemetry/audit.ts'
import { noteAllowed } from './access/note.ts'
import type { Answer } from './answer.ts'

/** The answer to `/api/whoami-v2`, recorded in `access`. It says nothing about a Hub token that may be lent. */
export function ownWhoami(caller: Extract<Caller, { kind: 'mirror-token' }>, access: AccessNote): Answer {
  noteAllowed(access, 'own')
  const { name, createdAt } = caller
  const accessToken = { displayName: name, role: 'read', createdAt: new Date(createdAt).toISOString() }
  const bytes = Buffer.from(
    JSON.stringify({
      type: 'user',
      id: `mirror-token-${name}`,
      name,
      fullname: name,
      email: null,
      emailVerified: false,
      canPay: false,
      isPro: false,
      periodEnd: null,
      avatarUrl: '',
      orgs: [],
      auth: { type: 'access_token', accessToken },
    }),
  )
  return {
    status: 200,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'content-length': String(bytes.length),
      'access-control-allow-origin': '*',
      'cache-control': 'private, no-store',
      vary: 'Authorization, Accept',
      'x-content-type-options': 'nosniff',
    },
    outcome: 'own',
    body: { kind: 'bytes', bytes },
  }
}
