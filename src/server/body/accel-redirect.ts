// Stored files that an nginx in front of the mirror sends. The mirror decides, and answers with the head of the response
// and a field X-Accel-Redirect that names the file. nginx takes the body from the disk (docs/decisions/0015-a-front-proxy-sends-stored-files.md).

import type { IncomingHttpHeaders } from 'node:http'
import { networks } from '../../policy/patterns.ts'
import { peerAddress } from '../clients.ts'
import type { FileHandoff } from './handoff.ts'

/** Where deploy/nginx/sendfile.conf has its internal location. Clients cannot ask for it there. */
const LOCATION = '/-/handoff/'

/**
 * The fields that deploy/nginx/sendfile.conf takes over into its response. nginx drops all others, so the mirror sends an
 * answer that has another field itself.
 */
export const ACCEL_FIELDS: readonly string[] = [
  'accept-ranges',
  'access-control-allow-origin',
  'access-control-expose-headers',
  'age',
  'cache-control',
  'cache-status',
  'content-disposition',
  'content-length',
  'content-range',
  'content-security-policy',
  'content-type',
  'etag',
  'vary',
  'x-cache',
  'x-content-type-options',
  'x-linked-etag',
  'x-linked-size',
  'x-repo-commit',
  'x-request-id',
]
const TAKEN_OVER = new Set(ACCEL_FIELDS)

/** Conditions that nginx would evaluate for the file on the disk, whose date and etag mean nothing to the client. */
const OWN_CONDITIONS = ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since']

/** A single range that nginx reads as the mirror does. */
const PLAIN_RANGE = /^bytes=(?:\d{1,15}-\d{0,15}|-\d{1,15})$/

/** Hands files over to the proxies whose own address is in `trustProxy`. The mirror serves all other peers itself. */
export function accelRedirect({ trustProxy }: { readonly trustProxy: readonly string[] }): FileHandoff {
  const trusted = networks(trustProxy)
  return {
    async offer({ response, answer, file }) {
      const { req: request } = response
      // An answer that waits for those before it on its connection could not end that connection.
      if (response.socket === null) return undefined
      const peer = peerAddress(request.socket)
      if (peer === undefined || !trusted.has(peer)) return undefined
      const isPart = answer.status === 206
      if (!mayEvaluate(request.headers, isPart)) return undefined
      if (!Object.keys(answer.headers).every((name) => TAKEN_OVER.has(name))) return undefined
      const name = await file.link()
      if (name === undefined) return undefined
      const fields = {
        'x-accel-redirect': `${LOCATION}${name}`,
        // nginx adds its own to a 200, and passes on that of the mirror as well.
        ...(isPart ? {} : { 'accept-ranges': undefined }),
      }
      return { fields, result: undefined }
    },
  }
}

/**
 * Whether nginx, which evaluates Range and If-Range of the client's request again, must come to the answer of the mirror.
 * A valid If-Range holds the strong etag that nginx gets with the answer.
 */
function mayEvaluate(headers: IncomingHttpHeaders, isPart: boolean): boolean {
  if (OWN_CONDITIONS.some((name) => headers[name] !== undefined)) return false
  return isPart ? PLAIN_RANGE.test(headers.range ?? '') : headers.range === undefined
}
