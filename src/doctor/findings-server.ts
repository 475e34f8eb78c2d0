// The words of `hubmirror doctor --server`: what is checked where the mirror runs. Nothing here is decided; see
// commands/doctor-server.ts.

import type { Status } from './checks.ts'

interface ServerFinding {
  readonly check: string
  readonly status: Status
  /** Names in braces stand for what was seen. */
  readonly message: string
  readonly cure?: string
}

/** What each check of the server side can find, in the order in which they are reported. */
export const SERVER_FINDINGS = {
  'settings-ok': {
    check: 'settings',
    status: 'ok',
    message: 'The settings can be used: the store is {store}, the origin is {origin}.',
  },
  'store-ok': { check: 'store', status: 'ok', message: '{store} can be used as the store.' },
  'store-missing': {
    check: 'store',
    status: 'warn',
    message: '{store} does not exist.',
    cure: 'The first start of the mirror makes it. If there should be a store, correct HUBMIRROR_CACHE_DIR, or mount its volume.',
  },
  'store-read-only': {
    check: 'store',
    status: 'warn',
    message: '{store} is on a read-only volume ({error}).',
    cure: 'Mount the volume writable, or serve what it has with HUBMIRROR_OFFLINE=on.',
  },
  'store-wrong': { check: 'store', status: 'fail', message: '{error}', cure: '{cure}' },
  'space-ok': { check: 'space', status: 'ok', message: '{free} are free on the disk of the store.' },
  'space-low': {
    check: 'space',
    status: 'warn',
    message: '{free} are free on the disk of the store, less than HUBMIRROR_CACHE_MIN_FREE ({least}).',
    cure: 'Free space, set HUBMIRROR_CACHE_MAX_SIZE, or remove what is not needed: hubmirror prune. Until then files pass through unstored.',
  },
  'mirror-ready': { check: 'mirror', status: 'ok', message: 'A mirror runs on this store, and is ready.' },
  'mirror-not-ready': {
    check: 'mirror',
    status: 'fail',
    message: 'A mirror runs on this store, and is not ready: {detail}.',
    cure: 'Look at the lines before and behind this one, and at the log of the mirror.',
  },
  'mirror-hints': {
    check: 'mirror',
    status: 'warn',
    message: 'A mirror runs on this store, and is ready. It says: {detail}.',
    cure: 'See the log of the mirror.',
  },
  'mirror-none': {
    check: 'mirror',
    status: 'warn',
    message: 'No mirror runs on this store, or this user cannot ask it.',
    cure: 'Start it by hubmirror serve. If one runs, use its environment, and its user or root.',
  },
  'mirror-silent': {
    check: 'mirror',
    status: 'fail',
    message: 'A mirror runs on this store: {detail}.',
    cure: 'Look at its process (ps) and its log. kill -CONT lets a process go on that was stopped.',
  },
  'origin-ok': { check: 'origin', status: 'ok', message: '{origin} answers in {ms} ms{way}.' },
  'origin-unreachable': {
    check: 'origin',
    status: 'fail',
    message: '{origin} cannot be reached{way} ({error}).',
    cure: 'Check HUBMIRROR_ORIGIN, the name servers, and that the firewall lets this machine connect to it. If a forward proxy must be used, set HTTPS_PROXY for the mirror.',
  },
  'origin-certificate': {
    check: 'origin',
    status: 'fail',
    message: 'The certificate that comes from {origin}{way} is not trusted ({error}).',
    cure: 'If a proxy of your network opens TLS, give its authority to the mirror as a PEM file: NODE_EXTRA_CA_CERTS=/path/ca.pem. Else check HUBMIRROR_ORIGIN and the clock of this machine.',
  },
  'origin-page': {
    check: 'origin',
    status: 'fail',
    message: '{origin} answers {status} with a page that is not from a Hub{way}.',
    cure: 'Check HUBMIRROR_ORIGIN. If it is right, a filter or a proxy answers in its place: let this machine reach the Hub.',
  },
  'origin-fails': {
    check: 'origin',
    status: 'fail',
    message: '{origin} answers {status}{way}.',
    cure: 'Wait, and look at the status page of the Hub. Stored files are served meanwhile.',
  },
  'quota-left': {
    check: 'quota',
    status: 'ok',
    message: 'Of the requests without a token ("{bucket}"), {left} are left for {seconds} s.',
  },
  'quota-used': {
    check: 'quota',
    status: 'fail',
    message: 'The quota of requests without a token ("{bucket}") is used up for {seconds} s.',
    cure: 'Wait. All callers without a token share one quota: let them use tokens, or lend them one by a rule (docs/tokens.md).',
  },
  'redirects-ok': {
    check: 'redirects',
    status: 'ok',
    message: 'Files of {repo} come from {hosts}, which HUBMIRROR_REDIRECT_HOSTS allows.',
  },
  'redirects-refused': {
    check: 'redirects',
    status: 'fail',
    message:
      'The origin sends the mirror to {host} for {file}, and HUBMIRROR_REDIRECT_HOSTS does not allow that.',
    cure: 'If this is a host of the Hub, or of the storage behind your origin, allow it: HUBMIRROR_REDIRECT_HOSTS={hosts}.',
  },
  'redirects-none': {
    check: 'redirects',
    status: 'skip',
    message:
      'Not checked: no file of {repo} can be read without a token ({status}). Name a public repo by --repo.',
  },
  'speed-ok': {
    check: 'speed',
    status: 'ok',
    message: '{size} of {file} came from {host} in {ms} ms: {rate} MB/s by one connection.',
  },
  'speed-failed': {
    check: 'speed',
    status: 'fail',
    message: '{host} did not send {file} ({error}).',
    cure: 'Let this machine connect to {host}, as to the origin.',
  },
} as const satisfies Readonly<Record<string, ServerFinding>>
export type ServerFindingId = keyof typeof SERVER_FINDINGS

/** Every check of the server side, in the order in which it is reported. */
export const SERVER_CHECKS = [
  'settings',
  'store',
  'space',
  'mirror',
  'origin',
  'quota',
  'redirects',
  'speed',
] as const

/** What a check that could not run says. */
export const SERVER_SKIPPED = {
  offline: 'Not checked: HUBMIRROR_OFFLINE is on.',
  before: 'Not checked: {check} comes first.',
  none: 'Not checked: the origin does not say.',
} as const
