// The closed table of the mirror's own errors. A refusal by the Hub is a response, and absence is a value: neither is
// thrown. This file knows no protocol: the server decides which headers carry a code.

interface ErrorRow {
  readonly status: number
  /** The value of X-Error-Code, in PascalCase like the Hub's own codes. */
  readonly header: string
  /**
   * The code instead for a request about a repo. Without it, huggingface_hub over https takes any 401 for a missing repo,
   * and any 403 within a download for a broken connection. With `GatedRepo` it raises GatedRepoError and prints the message.
   */
  readonly repoHeader?: 'GatedRepo' | 'RepoNotFound'
  /** The default X-Error-Message: what happened, and what the caller can do. Printable ASCII only. */
  readonly message: string
  /** The cause, and what the operator can check. The documentation prints it. */
  readonly operator: string
  /** Whether the same request may succeed later although the caller changes nothing. */
  readonly mayRetry: boolean
}

export const ERRORS = {
  bad_url: {
    status: 400,
    header: 'BadUrl',
    message: 'The mirror cannot forward this URL. Check the repo id, revision and path.',
    operator: 'A client builds malformed URLs, or probes for path traversal.',
    mayRetry: false,
  },
  bad_request: {
    status: 400,
    header: 'BadRequest',
    message: 'This request is malformed.',
    operator: 'A client, or a proxy in front of the mirror, sends duplicate or malformed headers.',
    mayRetry: false,
  },
  method_not_allowed: {
    status: 405,
    header: 'MethodNotAllowed',
    message: 'This route supports only GET and HEAD.',
    operator: 'A client uses a method that the Hub does not support on this route.',
    mayRetry: false,
  },
  writes_denied: {
    status: 403,
    header: 'MirrorIsReadOnly',
    message:
      'This mirror is read-only. Upload or push to the Hub directly (without HF_ENDPOINT), or ask the operator.',
    operator: 'HUBMIRROR_WRITES is deny, and a client tried to upload, commit or change a repo.',
    mayRetry: false,
  },
  mirror_token_refused: {
    status: 401,
    header: 'MirrorTokenRefused',
    repoHeader: 'GatedRepo',
    message: 'The mirror token is not valid here.',
    operator: 'A client uses an unknown, expired or revoked mirror token; see `hubmirror token ls`.',
    mayRetry: false,
  },
  mirror_token_scope: {
    status: 403,
    header: 'MirrorTokenScope',
    repoHeader: 'GatedRepo',
    message: 'The mirror token was issued for other repos.',
    operator: 'A client asks for a repo outside the scope with which its mirror token was created.',
    mayRetry: false,
  },
  mirror_token_read_only: {
    status: 403,
    header: 'MirrorTokenIsReadOnly',
    message: 'Mirror tokens are read-only. To change a repo, use your own Hub token.',
    operator: 'A client tries to upload, commit or push with a mirror token.',
    mayRetry: false,
  },
  mirror_token_misplaced: {
    // Not 400: within a download, huggingface_hub takes a 400 for a broken connection.
    status: 401,
    header: 'MirrorTokenMisplaced',
    repoHeader: 'GatedRepo',
    message:
      "This request has a mirror token in the wrong place. Send it only as 'Authorization: Bearer hf_mirror...'.",
    operator:
      'A client puts its mirror token into a URL or another header; the mirror did not forward the request.',
    mayRetry: false,
  },
  policy_denied: {
    status: 403,
    header: 'PolicyDenied',
    repoHeader: 'GatedRepo',
    message: 'The rules of this mirror do not allow this.',
    operator:
      'A rule in `policies` denied it. The log line names the rule; `hubmirror config explain` shows why it applies.',
    mayRetry: false,
  },
  client_not_allowed: {
    status: 403,
    header: 'ClientNotAllowed',
    repoHeader: 'GatedRepo',
    message: 'This mirror does not serve clients of your network. Ask its operator.',
    operator:
      'HUBMIRROR_CLIENTS_ALLOW and HUBMIRROR_CLIENTS_DENY exclude the address in the log line; behind a proxy, see HUBMIRROR_TRUST_PROXY.',
    mayRetry: false,
  },
  client_limited: {
    status: 429,
    header: 'TooManyRequests',
    message:
      'You have sent too many requests that this mirror must forward to the Hub. Wait, or ask its operator. This limit is of the mirror, not of the Hub.',
    operator:
      'A caller exceeds HUBMIRROR_CLIENTS_RATE_LIMIT. The mirror still serves it public content that is stored.',
    mayRetry: true,
  },
  upload_too_slow: {
    status: 408,
    header: 'RequestTimeout',
    message:
      'The upload was too slow for too long. Try again over a faster connection, or upload to the Hub directly (unset HF_ENDPOINT).',
    operator:
      'A client sent less than 1 KiB/s for two minutes, or less than 64 KiB/s for 15 s while other requests waited for a connection.',
    mayRetry: true,
  },
  // 422: git-lfs repeats an upload after any other error, and prints the message after this one.
  upload_mismatch: {
    status: 422,
    header: 'UploadMismatch',
    message:
      'This upload does not have the size or the sha256 that the client announced. It was not completed: upload the file again.',
    operator:
      'A file changed while a client uploaded it, or something between the client and the mirror changed its bytes.',
    mayRetry: false,
  },
  xet_disabled: {
    status: 404,
    header: 'XetDisabled',
    message:
      'Xet is disabled on this mirror: set HF_HUB_DISABLE_XET=1, or delete the trees folder of this repo in your local cache.',
    operator:
      'A client received Xet hashes from the Hub itself before it used the mirror, or it uploads with hf_xet, which the mirror does not support.',
    mayRetry: false,
  },
  transfer_link_refused: {
    status: 403,
    header: 'TransferLinkRefused',
    message:
      'This link for a Git LFS transfer is expired or invalid. Start the transfer again to get a new link.',
    operator:
      'The transfer took longer than the Hub allows, the link comes from a mirror with another transfer-key, or it is forged.',
    mayRetry: false,
  },
  range_not_satisfiable: {
    status: 416,
    header: 'RangeNotSatisfiable',
    message: 'The requested range is outside the file.',
    operator:
      'A client resumes a download that is already complete, or the file was replaced by a shorter one.',
    mayRetry: false,
  },
  request_too_large: {
    status: 413,
    header: 'RequestTooLarge',
    message: 'The request body is too large for this route.',
    operator: 'A client sends more paths in one request than the Hub accepts.',
    mayRetry: false,
  },
  origin_bad_answer: {
    status: 502,
    header: 'OriginBadAnswer',
    message:
      'The Hub sent a response that the mirror cannot trust. Try again; if this persists, contact the operator.',
    operator: 'A proxy or a captive portal may stand between the mirror and the Hub; see the log line.',
    mayRetry: true,
  },
  origin_moved: {
    status: 502,
    header: 'OriginMoved',
    message:
      'The Hub has moved to another address, and this mirror may not send this request there. Its operator must set HUBMIRROR_ORIGIN to the new address.',
    operator:
      'The origin redirects every request to the host in the log line: set HUBMIRROR_ORIGIN to that host. The mirror follows such redirects only without a token, and only to hosts in HUBMIRROR_REDIRECT_HOSTS.',
    mayRetry: false,
  },
  origin_intercepted: {
    status: 502,
    header: 'OriginIntercepted',
    message:
      "Something between this mirror and the Hub answered in the Hub's place. If this persists, contact the operator.",
    operator:
      'A CDN, a company filter or a proxy answered with its own page; the log line has the status, content type and Server field. Let the mirror reach HUBMIRROR_ORIGIN and the hosts in HUBMIRROR_REDIRECT_HOSTS.',
    mayRetry: true,
  },
  origin_unavailable: {
    status: 503,
    header: 'HubUnavailable',
    message: 'The Hub reports that it is unavailable (503), and this is not stored here. Try again later.',
    operator:
      'The Hub is under maintenance or overloaded. Meanwhile the mirror serves public content that is stored.',
    mayRetry: true,
  },
  origin_in_trouble: {
    status: 502,
    header: 'HubInTrouble',
    message: 'The Hub, or a server in front of it, has failed. Try again later.',
    operator:
      'The log line has the status of the response. Meanwhile the mirror serves public content that is stored.',
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
    message:
      'The bytes received do not match the digest that the Hub announced. They were discarded; try again.',
    operator:
      'A proxy or a broken CDN node changed bytes in transit; see hubmirror_integrity_failures_total.',
    mayRetry: true,
  },
  origin_unreachable: {
    status: 502,
    header: 'OriginUnreachable',
    message: 'The mirror cannot reach the Hub, and this is not stored here. Try again later.',
    operator:
      'The log line has the cause: DNS, firewall, certificate or proxy on the way to HUBMIRROR_ORIGIN.',
    mayRetry: true,
  },
  origin_timeout: {
    status: 504,
    header: 'OriginTimeout',
    message: 'The Hub did not answer the mirror in time, and this is not stored here. Try again later.',
    operator: 'The Hub, or the network on the way to HUBMIRROR_ORIGIN, is slow.',
    mayRetry: true,
  },
  // Not a 5xx, because clients retry a 5xx for half a minute. With RepoNotFound, huggingface_hub uses its own copy, or
  // raises RepositoryNotFoundError with the message as its last line. No client continues as if the repo lacked the file.
  offline_and_absent: {
    status: 404,
    header: 'OfflineAndAbsent',
    repoHeader: 'RepoNotFound',
    message: 'This mirror is offline by configuration, and this is not stored here.',
    operator: 'HUBMIRROR_OFFLINE is on. Fetch the repo through a connected mirror, and copy its store here.',
    mayRetry: false,
  },
  // No client knows this code. huggingface_hub therefore behaves as if it were offline itself: it does without optional
  // files, and its error about a required file contains the message.
  offline_and_unknown: {
    status: 404,
    header: 'OfflineAndUnknown',
    message:
      'This mirror is offline by configuration, and cannot tell from its stored content whether this exists.',
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
    operator: 'Raise the limit of open files, or run a second mirror.',
    mayRetry: true,
  },
  page_elsewhere: {
    // 404, so that no program takes the page for what it has requested.
    status: 404,
    header: 'PageNotMirrored',
    message:
      'This mirror serves files and the API to programs, and has no pages. Open the same path on the Hub.',
    operator:
      'A person has opened a page of the Hub at the mirror (a repo, a file, a login), or a program reads such a page. The mirror ' +
      'answers with a link to the Hub.',
    mayRetry: false,
  },
  not_found: {
    status: 404,
    header: 'NotFound',
    message: 'The mirror itself has no such route.',
    operator: 'The mirror itself has only the routes /healthz, /readyz, /metrics and /-/.',
    mayRetry: false,
  },
  bug: {
    status: 500,
    header: 'InternalError',
    message: 'The mirror failed. The operator can find the log line by the request id.',
    operator: 'This is a bug. Please report the log line with its stack.',
    mayRetry: true,
  },
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof ERRORS

/** An error of the mirror's own. `detail` is for the log: short values, never a token or a signed query. */
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
   * The status in the table, or 424 (RFC 4918, section 11.4) once the origin has been unreachable for LONG_OUTAGE_SECONDS.
   * Clients retry a 5xx for half a minute, which helps in a short outage and only delays them in a long one.
   */
  get status(): number {
    const { awaySeconds } = this.detail
    const isLong = typeof awaySeconds === 'number' && awaySeconds >= LONG_OUTAGE_SECONDS
    return isLong ? 424 : ERRORS[this.code].status
  }
}

/** An outage of this length counts as long. Clients wait 1, 2, 4 and 8 s before their first retries. */
const LONG_OUTAGE_SECONDS = 10

const ALSO_UNAVAILABLE: ReadonlySet<ErrorCode> = new Set(['overloaded', 'redirect_refused', 'client_limited'])

/**
 * Whether the error means that the mirror could not get an answer of the Hub for now, so that a stored copy may be served
 * instead. A redirect to a host that the mirror may not contact counts too, because login pages of networks redirect every
 * request.
 */
export function isOriginUnavailable(error: unknown): error is MirrorError {
  if (!(error instanceof MirrorError)) return false
  return error.code.startsWith('origin_') || ALSO_UNAVAILABLE.has(error.code)
}

const HUB_AWAY: ReadonlySet<ErrorCode> = new Set([
  'origin_unreachable',
  'origin_timeout',
  'origin_unavailable',
  'origin_in_trouble',
])

/**
 * Whether the error means that the Hub could not be reached, or has failed. This is narrower than `isOriginUnavailable`: what
 * something else answered in the Hub's place may be a refusal, and a caller can use up a limit of its own on purpose.
 */
export function isHubAway(error: unknown): error is MirrorError {
  return error instanceof MirrorError && HUB_AWAY.has(error.code)
}
