// The mirror's own failures, as a closed table. Refusals of the Hub are answers, not errors, and absence is a
// value: neither is thrown. This file knows no protocol: which headers carry a code is the server's affair.

interface ErrorRow {
  readonly status: number
  /** What clients read in X-Error-Code; PascalCase like the Hub's own. */
  readonly header: string
  /**
   * What they read instead where the request is about a repo: over https Python takes any 401 there for "no such repo",
   * and within a download any 403 for a broken connection; with this code it raises GatedRepoError and prints why.
   */
  readonly repoHeader?: 'GatedRepo' | 'RepoNotFound'
  /** Default X-Error-Message: what happened and what to do. Printable ASCII only. */
  readonly message: string
  /** What an operator should look at; printed in the README. */
  readonly operator: string
  /** Whether the same request may succeed later without a change by the caller. */
  readonly mayRetry: boolean
}

export const ERRORS = {
  bad_url: {
    status: 400,
    header: 'BadUrl',
    message: 'This URL is not one the mirror can pass on. Check the repo id, revision and path.',
    operator: 'A client builds malformed URLs, or somebody probes for path traversal.',
    mayRetry: false,
  },
  bad_request: {
    status: 400,
    header: 'BadRequest',
    message: 'This request is not well formed.',
    operator: 'A client or a proxy before the mirror sends doubled or malformed headers.',
    mayRetry: false,
  },
  method_not_allowed: {
    status: 405,
    header: 'MethodNotAllowed',
    message: 'This route answers GET and HEAD only.',
    operator: 'A client uses a method that the Hub does not know on this route.',
    mayRetry: false,
  },
  writes_denied: {
    status: 403,
    header: 'MirrorIsReadOnly',
    message: 'This mirror is read-only. Upload to the Hub directly (unset HF_ENDPOINT), or ask the operator.',
    operator: 'HUBMIRROR_WRITES is deny and somebody tried to upload, commit or change a repo.',
    mayRetry: false,
  },
  mirror_token_refused: {
    status: 401,
    header: 'MirrorTokenRefused',
    repoHeader: 'GatedRepo',
    message: 'The mirror token opens nothing here.',
    operator: 'A client has an unknown, expired or revoked mirror token; see `hubmirror token ls`.',
    mayRetry: false,
  },
  mirror_token_scope: {
    status: 403,
    header: 'MirrorTokenScope',
    repoHeader: 'GatedRepo',
    message: 'The mirror token was issued for other repos.',
    operator: 'A client asks for a repo that is not among those its mirror token was created with.',
    mayRetry: false,
  },
  mirror_token_read_only: {
    status: 403,
    header: 'MirrorTokenIsReadOnly',
    message: 'Mirror tokens are read-only. To change something, use a Hub token of your own.',
    operator: 'A client tries to upload, commit or push with a mirror token.',
    mayRetry: false,
  },
  mirror_token_misplaced: {
    // No 400: within a download huggingface_hub takes that for a broken connection.
    status: 401,
    header: 'MirrorTokenMisplaced',
    repoHeader: 'GatedRepo',
    message:
      "A mirror token stands where none belongs. It must come as 'Authorization: Bearer hf_mirror...' only.",
    operator: 'A client puts its mirror token into a URL or another header; the request was not passed on.',
    mayRetry: false,
  },
  policy_denied: {
    status: 403,
    header: 'PolicyDenied',
    repoHeader: 'GatedRepo',
    message: 'The rules of this mirror do not allow this.',
    operator:
      'A rule of `policies` denied it; the log line names the rule, and `hubmirror config explain` says why.',
    mayRetry: false,
  },
  client_not_allowed: {
    status: 403,
    header: 'ClientNotAllowed',
    repoHeader: 'GatedRepo',
    message: 'This mirror does not serve the network that you come from. Ask its operator.',
    operator:
      'HUBMIRROR_CLIENTS_ALLOW and HUBMIRROR_CLIENTS_DENY leave the address in the log line out; behind a proxy, see HUBMIRROR_TRUST_PROXY.',
    mayRetry: false,
  },
  client_limited: {
    status: 429,
    header: 'TooManyRequests',
    message:
      'You have asked this mirror for too much that it must fetch from the Hub. Wait, or ask its operator. It is not the limit of the Hub.',
    operator:
      'A caller is over HUBMIRROR_CLIENTS_RATE_LIMIT; what is stored and public is served to it all the same.',
    mayRetry: true,
  },
  upload_too_slow: {
    status: 408,
    header: 'RequestTimeout',
    message:
      'The upload was too slow for too long. Try again on a faster line, or upload to the Hub directly (unset HF_ENDPOINT).',
    operator:
      'A client sent less than 1 KiB/s for two minutes, or less than 64 KiB/s for 15 s while others waited for a connection.',
    mayRetry: true,
  },
  xet_disabled: {
    status: 404,
    header: 'XetDisabled',
    message:
      'Xet is disabled on this mirror: set HF_HUB_DISABLE_XET=1, or delete the trees folder of this repo in your local cache.',
    operator:
      'A client learnt Xet hashes from the Hub itself before it used the mirror, or it uploads with hf_xet, which the mirror does not support.',
    mayRetry: false,
  },
  transfer_link_refused: {
    status: 403,
    header: 'TransferLinkRefused',
    message:
      'This link for a Git LFS transfer has expired or is not valid. Start the transfer again: it gets a new link.',
    operator:
      'The transfer took longer than the Hub allows, the link comes from a mirror with another transfer-key, or somebody made it up.',
    mayRetry: false,
  },
  range_not_satisfiable: {
    status: 416,
    header: 'RangeNotSatisfiable',
    message: 'The requested range lies outside of the file.',
    operator:
      'A client resumes a download that is already complete, or the file was replaced by a shorter one.',
    mayRetry: false,
  },
  request_too_large: {
    status: 413,
    header: 'RequestTooLarge',
    message: 'The body of this request is too large for this route.',
    operator: 'A client sends more paths in one request than the Hub accepts.',
    mayRetry: false,
  },
  origin_bad_answer: {
    status: 502,
    header: 'OriginBadAnswer',
    message: 'The Hub gave an answer that the mirror cannot trust. Try again; tell the operator if it stays.',
    operator: 'A proxy or captive portal may stand between the mirror and the Hub; see the log line.',
    mayRetry: true,
  },
  origin_moved: {
    status: 502,
    header: 'OriginMoved',
    message:
      'The Hub has moved to another address, and this mirror may not send this request there. Its operator must set HUBMIRROR_ORIGIN to the new address.',
    operator:
      'The origin redirects every request to the host in the log line: set HUBMIRROR_ORIGIN to that host. The mirror follows only requests without a token, and only to hosts of HUBMIRROR_REDIRECT_HOSTS.',
    mayRetry: false,
  },
  origin_intercepted: {
    status: 502,
    header: 'OriginIntercepted',
    message:
      "Something between this mirror and the Hub answered in the Hub's place. Tell the operator if it stays.",
    operator:
      'A CDN, a company filter or a proxy answered with a page of its own; the log line has its status, content type and Server field. Let the mirror through to HUBMIRROR_ORIGIN and to the hosts of HUBMIRROR_REDIRECT_HOSTS.',
    mayRetry: true,
  },
  origin_unavailable: {
    status: 503,
    header: 'HubUnavailable',
    message: 'The Hub says that it is not available now (503), and this is not stored here. Try again later.',
    operator: 'The Hub is in maintenance or overloaded. What is stored and public is served meanwhile.',
    mayRetry: true,
  },
  origin_in_trouble: {
    status: 502,
    header: 'HubInTrouble',
    message: 'The Hub, or a server in front of it, has failed. Try again later.',
    operator: 'The log line has the status of the answer. What is stored and public is served meanwhile.',
    mayRetry: true,
  },
  redirect_refused: {
    status: 502,
    header: 'RedirectRefused',
    message: 'The Hub redirected to a host that this mirror may not contact. The operator can allow it.',
    operator: 'Add the host named in the log line to HUBMIRROR_REDIRECT_HOSTS if you trust it.',
    mayRetry: false,
  },
  integrity_mismatch: {
    status: 502,
    header: 'IntegrityMismatch',
    message: 'The bytes that arrived do not have the digest the Hub announced. Nothing was kept; try again.',
    operator:
      'A proxy or a broken CDN node changed bytes on the way; see hubmirror_integrity_failures_total.',
    mayRetry: true,
  },
  origin_unreachable: {
    status: 502,
    header: 'OriginUnreachable',
    message: 'The mirror cannot reach the Hub, and this is not stored here. Try again later.',
    operator: 'The log line says why: DNS, firewall, certificate or proxy towards HUBMIRROR_ORIGIN.',
    mayRetry: true,
  },
  origin_timeout: {
    status: 504,
    header: 'OriginTimeout',
    message: 'The Hub did not answer the mirror in time, and this is not stored here. Try again later.',
    operator: 'The network towards HUBMIRROR_ORIGIN is slow, or the Hub is.',
    mayRetry: true,
  },
  // Not a 5xx, since clients repeat a 5xx for half a minute. With RepoNotFound, huggingface_hub uses its own copy, or
  // raises RepositoryNotFoundError with the message as its last line. No client goes on as if the repo lacked the file.
  offline_and_absent: {
    status: 404,
    header: 'OfflineAndAbsent',
    repoHeader: 'RepoNotFound',
    message: 'This mirror is offline by configuration, and this is not stored here.',
    operator: 'HUBMIRROR_OFFLINE is on. Let a connected mirror fetch the repo, and copy its store here.',
    mayRetry: false,
  },
  // A code that no client knows, so that huggingface_hub does what it does when it is offline itself: it does without
  // optional files, and the error about a required file contains the message.
  offline_and_unknown: {
    status: 404,
    header: 'OfflineAndUnknown',
    message:
      'This mirror is offline by configuration, and cannot tell from what it has stored whether this exists.',
    operator:
      'HUBMIRROR_OFFLINE is on, and no complete listing of this commit is stored. Run `hf download` for the repo through a connected mirror to store one.',
    mayRetry: false,
  },
  loop: {
    status: 508,
    header: 'MirrorLoop',
    message: 'The origin of this mirror leads back to the mirror itself.',
    operator: 'HUBMIRROR_ORIGIN points at this mirror, or at one that points here.',
    mayRetry: false,
  },
  draining: {
    status: 503,
    header: 'Draining',
    message: 'This mirror is shutting down. Try again in a moment.',
    operator: 'A restart or a rollout is under way.',
    mayRetry: true,
  },
  overloaded: {
    status: 503,
    header: 'Overloaded',
    message: 'This mirror has no resources left for another request. Try again in a moment.',
    operator: 'Raise the limit of open files, or put a second mirror beside this one.',
    mayRetry: true,
  },
  not_found: {
    status: 404,
    header: 'NotFound',
    message: 'The mirror has no such route of its own.',
    operator: 'Only /healthz, /readyz, /metrics and /-/ belong to the mirror.',
    mayRetry: false,
  },
  bug: {
    status: 500,
    header: 'InternalError',
    message: 'The mirror failed. The request id leads the operator to the log line.',
    operator: 'Please report the log line with its stack.',
    mayRetry: true,
  },
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/** A failure of the mirror's own. `detail` is for the log (bounded, never a token or a signed query). */
export class MirrorError extends Error {
  readonly code: ErrorCode
  readonly detail: Readonly<Record<string, string | number | boolean>>

  constructor(
    code: ErrorCode,
    options: {
      message?: string
      cause?: unknown
      detail?: Readonly<Record<string, string | number | boolean>>
    } = {},
  ) {
    super(
      options.message ?? ERRORS[code].message,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.name = 'MirrorError'
    this.code = code
    this.detail = options.detail ?? {}
  }

  /**
   * The status of the table, or 424 (RFC 4918, section 11.4) once the origin has been away for LONG_AWAY_SECONDS. Clients
   * repeat a 5xx for half a minute: that helps over a short outage, and only delays them in a long one.
   */
  get status(): number {
    const { awaySeconds } = this.detail
    const isLong = typeof awaySeconds === 'number' && awaySeconds >= LONG_AWAY_SECONDS
    return isLong ? 424 : ERRORS[this.code].status
  }
}

/** Longer than the first waits of clients that repeat a request: 1, 2, 4 and 8 s. */
const LONG_AWAY_SECONDS = 10

const LIKE_AWAY: ReadonlySet<ErrorCode> = new Set(['overloaded', 'redirect_refused', 'client_limited'])

/**
 * Whether the origin could not be heard for now: whoever has something stored may serve it instead. A redirect to
 * where we may not go is no answer of the Hub either: login pages of networks send everybody away so.
 */
export function isOriginAway(error: unknown): error is MirrorError {
  if (!(error instanceof MirrorError)) return false
  return error.code.startsWith('origin_') || LIKE_AWAY.has(error.code)
}
