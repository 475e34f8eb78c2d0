// An upload by Git LFS as a client makes it: the batch, the requests for the addresses of its answer, and the commit.

import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { buffer } from 'node:stream/consumers'
import type { Reply } from './ask.ts'
import { TOKENS } from './mirror-world.ts'
import type { Scene } from './scene.ts'

const LFS_JSON = { 'content-type': 'application/vnd.git-lfs+json' }

interface Action {
  readonly href: string
  readonly header: Readonly<Record<string, string>>
}

/** How Alice sends one object. */
export interface LfsUpload {
  /** The request target at the mirror that `put` sends to, or the one that `complete` does. */
  readonly target: string
  /** The request target of a part, which is counted from 1. */
  readonly partTarget: (number: number) => string
  /** The whole object in one request. */
  readonly put: (body: Uint8Array) => Promise<Reply>
  /** The same without saying how many bytes there are. */
  readonly putInChunks: (chunks: readonly Uint8Array[]) => Promise<Reply>
  /** Begins the same request, with the announced length. The caller sends the bytes, and ends it. */
  readonly begin: () => { readonly request: ClientRequest; readonly reply: Promise<Reply> }
  /** A part, which is counted from 1. */
  readonly part: (number: number, body: Uint8Array) => Promise<Reply>
  /** Says that all parts were sent. */
  readonly complete: (etags: readonly (string | undefined)[]) => Promise<Reply>
  /** Makes a commit with the object as `w.bin`. */
  readonly commit: () => Promise<Reply>
}

/** The sha256 in hex. */
export function oidOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Sends the batch for an object to a repo. The mirror must be the one of the scene. */
export async function openUpload(
  { ask, mirror }: Pick<Scene, 'ask' | 'mirror'>,
  id: string,
  bytes: Uint8Array,
): Promise<LfsUpload> {
  const token = TOKENS.alice
  const oid = oidOf(bytes)
  const size = bytes.length
  const got = await ask(`/${id}.git/info/lfs/objects/batch`, {
    method: 'POST',
    token,
    headers: LFS_JSON,
    body: JSON.stringify({
      operation: 'upload',
      transfers: ['basic', 'multipart'],
      objects: [{ oid, size }],
    }),
  })
  const { objects } = JSON.parse(got.body.toString()) as { objects: { actions?: { upload: Action } }[] }
  const upload = objects[0]?.actions?.upload
  if (upload === undefined) throw new Error(`no address for the upload: ${got.body.toString()}`)
  const targetOf = (address = ''): string => address.slice(mirror.url.length)
  const { href, header } = upload
  const send = (headers: Record<string, string>): ReturnType<LfsUpload['begin']> => {
    const outgoing = request(href, { method: 'PUT', headers, agent: false })
    // The answer may come before everything was sent.
    outgoing.on('error', () => undefined).on('socket', (socket) => socket.on('error', () => undefined))
    return { request: outgoing, reply: replyTo(outgoing) }
  }
  const partTarget = (number: number): string => targetOf(header[String(number).padStart(5, '0')])
  return {
    target: targetOf(href),
    partTarget,
    put: (body) => ask(targetOf(href), { method: 'PUT', body }),
    putInChunks(chunks) {
      const { request: outgoing, reply } = send({})
      for (const chunk of chunks) outgoing.write(chunk)
      outgoing.end()
      return reply
    },
    begin: () => send({ 'content-length': String(size) }),
    part: (number, body) => ask(partTarget(number), { method: 'PUT', body }),
    complete: (etags) =>
      ask(targetOf(href), {
        method: 'POST',
        headers: LFS_JSON,
        body: JSON.stringify({ oid, parts: etags.map((etag, index) => ({ partNumber: index + 1, etag })) }),
      }),
    commit: () =>
      ask(`/api/models/${id}/commit/main`, {
        method: 'POST',
        token,
        headers: { 'content-type': 'application/x-ndjson' },
        body: [
          { key: 'header', value: { summary: 'x', description: '' } },
          { key: 'lfsFile', value: { path: 'w.bin', algo: 'sha256', oid, size } },
        ]
          .map((line) => JSON.stringify(line))
          .join('\n'),
      }),
  }
}

async function replyTo(outgoing: ClientRequest): Promise<Reply> {
  const [message] = (await once(outgoing, 'response')) as [IncomingMessage]
  const { statusCode: status = 0, headers } = message
  const body = await buffer(message)
  return { status, headers: headers as Reply['headers'], names: [], body, whole: message.complete }
}
