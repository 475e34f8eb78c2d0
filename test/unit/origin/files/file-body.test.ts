// Which requester gets a refusal when several connections fetch one file and the requester changes meanwhile.

import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { expect, it, onTestFinished } from 'vitest'
import type { FileMeta } from '../../../../src/hub/file-meta.ts'
import { isCommitHash } from '../../../../src/hub/names.ts'
import { FileBody } from '../../../../src/origin/files/file-body.ts'
import { createSignedUrls } from '../../../../src/origin/files/signed-urls.ts'
import { silentObserver } from '../../../../src/telemetry/observer.ts'
import { originClientOf } from '../../../support/origin-client.ts'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const SIZE = 30

/** A Hub that sends the bytes itself, and whose answers are given by hand: by the first byte that is asked for. */
async function setUp() {
  const asked = new Map<number, ServerResponse>()
  const hub = createServer((request, response) => {
    const [, first = ''] = /^bytes=(\d+)-/.exec(request.headers.range ?? '') ?? []
    asked.set(Number(first), response)
    hub.emit('asked')
  })
  hub.listen(0, '127.0.0.1')
  await once(hub, 'listening')
  const client = originClientOf(hub, { connections: 4 })
  onTestFinished(async () => {
    await client.close()
    hub.closeAllConnections()
    hub.close()
  })
  if (!isCommitHash(COMMIT)) throw new Error('no commit')
  const told: unknown[] = []
  const body = new FileBody({
    lane: 'pull',
    client,
    target: `/acme/open/resolve/${COMMIT}/w.bin`,
    meta: { commit: COMMIT, etag: '"x"', sizeBytes: SIZE } as FileMeta,
    requester: { authorization: 'Bearer of-the-first', forward: {} },
    otherRequester: { authorization: undefined, forward: {} },
    onRefused: ({ status }, { authorization }) => told.push([status, authorization]),
    urls: createSignedUrls({ monotonic: () => performance.now(), now: Date.now }),
    urlName: 'w.bin',
    observer: silentObserver,
  })
  return {
    told,
    read: async (start: number): Promise<string> => {
      const parts: Buffer[] = []
      const { signal } = new AbortController()
      for await (const part of body.read({ start, end: start + 10 }, signal)) parts.push(part)
      return Buffer.concat(parts).toString()
    },
    /** The question for the bytes from `start` on, as soon as it is there. */
    question: async (start: number): Promise<ServerResponse> => {
      for (;;) {
        const response = asked.get(start)
        asked.delete(start)
        if (response !== undefined) return response
        await once(hub, 'asked')
      }
    },
  }
}

function send(response: ServerResponse, start: number): void {
  const range = `bytes ${start}-${start + 9}/${SIZE}`
  response.writeHead(206, { 'x-repo-commit': COMMIT, 'content-range': range, 'content-length': '10' })
  response.end('0123456789')
}

it('a refusal goes to the requester whose credential was refused, also if another has replaced it', async () => {
  const { read, question, told } = await setUp()
  const first = read(0)
  send(await question(0), 0)
  expect(await first).toBe('0123456789')

  const [second, third] = [read(10), read(20)]
  third.catch(() => undefined)
  const late = await question(20)
  ;(await question(10)).writeHead(401, { 'x-error-message': 'No.' }).end()
  send(await question(10), 10)
  expect(await second).toBe('0123456789')
  late.writeHead(404, { 'x-error-code': 'RepoNotFound' }).end()
  await expect(third).rejects.toThrow('404')
  expect(told).toEqual([
    [401, 'Bearer of-the-first'],
    [404, 'Bearer of-the-first'],
  ])
})
