// CDN URLs as the Hub signs them, and their check. A signature binds path, expiry and method.
// Knows no repo: an object is a path under the CDN.

import { createHmac } from 'node:crypto'
import { contentDisposition } from './file-answer.ts'

const KEY_PAIR_ID = 'K2L8F4GPSG1IFC'

/** What a URL is signed for. */
export interface SignedFor {
  readonly cdnUrl: string
  readonly secret: string
  /** Path with a slash in front. */
  readonly path: string
  readonly method: string
  readonly expiresAtSeconds: number
  /** Whose download it is: `public`, or a user. */
  readonly uid: string
  readonly fileName: string
}

/** The absolute URL of an object, good for one method until it expires. */
export function signUrl(request: SignedFor): string {
  const { path, method, expiresAtSeconds } = request
  const query = new URLSearchParams([
    ['X-Xet-Cas-Uid', request.uid],
    ['response-content-disposition', contentDisposition(request.fileName)],
    ['Expires', String(expiresAtSeconds)],
    [
      'Policy',
      Buffer.from(JSON.stringify({ Resource: path, LessThan: expiresAtSeconds })).toString('base64url'),
    ],
    ['Signature', signature(request.secret, path, expiresAtSeconds, method)],
    ['Key-Pair-Id', KEY_PAIR_ID],
  ])
  return `${request.cdnUrl}${path}?${query}`
}

/** Why a URL is not good, or `undefined`. `methods` are those whose signature will do. */
export function judgeSignedUrl(
  request: { readonly secret: string; readonly path: string; readonly query: URLSearchParams },
  methods: readonly string[],
): 'signature' | 'expired' | undefined {
  const expires = Number(request.query.get('Expires'))
  const given = request.query.get('Signature')
  const isSigned = methods.some(
    (method) => given === signature(request.secret, request.path, expires, method),
  )
  if (!isSigned) return 'signature'
  return expires * 1000 <= Date.now() ? 'expired' : undefined
}

function signature(secret: string, path: string, expiresAtSeconds: number, method: string): string {
  return createHmac('sha256', secret).update(`${method}\n${path}\n${expiresAtSeconds}`).digest('base64url')
}
