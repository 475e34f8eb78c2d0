// The CDN server: objects behind signed URLs, strict about credentials as S3 is, and LFS uploads.
// It adds none of the Hub's headers, and its ETags have nothing to do with the Hub's.

import { createHash, randomBytes } from 'node:crypto'
import { fromBytes } from './content.ts'
import type { Exchange, HeaderMap } from './exchange.ts'
import { sendFile } from './file-answer.ts'
import type { HubState } from './hub.ts'
import { judgeSignedUrl } from './signed-urls.ts'

const LAST_MODIFIED = 'Thu, 01 Jan 2026 00:00:00 GMT'

/** The headers of every CDN answer. */
export function cdnHeaders(): HeaderMap {
  return {
    Server: 'AmazonS3',
    Via: '1.1 cdn.invalid (CloudFront)',
    'X-Cache': 'Miss from cloudfront',
    'X-Amz-Cf-Id': randomBytes(12).toString('base64url'),
  }
}

/** Answers one request to the CDN. */
export async function answerCdn(hub: HubState, exchange: Exchange): Promise<void> {
  // S3 refuses a second credential beside the signature, which is how a leaked token shows itself.
  if (exchange.header('authorization') !== undefined || exchange.header('cookie') !== undefined) {
    return sendXml(exchange, 400, 'InvalidArgument', 'Only one auth mechanism allowed')
  }
  const { method, rawPath, query } = exchange
  const methods = exchange.damage.methodBoundUrls || method === 'PUT' ? [method] : ['GET', 'HEAD']
  const fault = judgeSignedUrl({ secret: hub.secret, path: rawPath, query }, methods)
  if (fault === 'signature') return sendXml(exchange, 403, 'AccessDenied', 'The signature does not match')
  if (fault === 'expired' || exchange.damage.expireSignedUrls) {
    return sendXml(exchange, 403, 'AccessDenied', 'Request has expired')
  }
  if (method === 'PUT') return receiveUpload(hub, exchange)
  if (method !== 'GET' && method !== 'HEAD') {
    return sendXml(exchange, 405, 'MethodNotAllowed', 'The method is not allowed')
  }
  const object = rawPath.replace(/^\/xet-bridge-us\//, '')
  const content = hub.world.cdnObject(object)
  if (content === undefined) return sendXml(exchange, 404, 'NoSuchKey', 'The specified key does not exist.')
  await sendFile(exchange, {
    content,
    etag: `"${createHash('md5').update(object).digest('hex')}"`,
    headers: {
      'Content-Type': 'application/octet-stream',
      'Last-Modified': LAST_MODIFIED,
      'Content-Disposition': query.get('response-content-disposition') ?? 'inline',
    },
    mayGzip: false,
    revalidates: true,
  })
}

async function receiveUpload(hub: HubState, exchange: Exchange): Promise<void> {
  const oid = exchange.segments?.at(-1) ?? ''
  const bytes = await exchange.readBody()
  const etag = `"${createHash('md5').update(bytes).digest('hex')}"`
  if (exchange.rawPath.startsWith('/lfs-parts/')) {
    hub.parts.set(exchange.rawPath, bytes)
    return exchange.send({ status: 200, headers: { ETag: etag } })
  }
  const content = fromBytes(bytes)
  if (content.sha256() !== oid) return sendXml(exchange, 400, 'BadDigest', 'The bytes do not match the oid')
  hub.world.lfsObjects.set(oid, content)
  await exchange.send({ status: 200, headers: { ETag: etag } })
}

async function sendXml(exchange: Exchange, status: number, code: string, message: string): Promise<void> {
  await exchange.send({
    status,
    headers: { 'Content-Type': 'application/xml' },
    body: `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>${message}</Message></Error>`,
  })
}
