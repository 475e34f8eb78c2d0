// Requests of HTTP/1.0, which load balancers and old tools send: without a Host (RFC 9112 §3.2), on a connection that
// ends with the answer (§9.3), and never in chunks (§6.1).

import { describe, expect, it } from 'vitest'
import { LARGE_BYTES } from '../support/mirror-world.ts'
import { rawHttp } from '../support/raw-http.ts'
import { openScene } from '../support/scene.ts'

const FILE = '/acme/open/resolve/main/config.json'
const LARGE = '/acme/open/resolve/main/w.bin'

describe.each([1, 2])('HTTP/1.0 with %i process(es) that answer', (workers) => {
  const open = () => openScene({ config: { workers } })

  it.each([
    '/healthz',
    '/readyz',
    '/metrics',
    FILE,
    '/api/models/acme/open',
    '/acme/open/raw/main/config.json',
  ])('a GET of %s without Host is answered, and the connection ends', async (target) => {
    const scene = await open()
    for (const turn of ['first', 'again']) {
      const got = await rawHttp(scene.mirror.url, `GET ${target} HTTP/1.0\r\n\r\n`)
      expect([turn, got.status, got.end]).toEqual([turn, 200, 'closed'])
      expect(got.headers['transfer-encoding']).toBeUndefined()
      expect(got.body.length).toBeGreaterThan(0)
    }
  })

  it('a probe as HAProxy sends it is answered', async () => {
    const scene = await open()
    const got = await rawHttp(scene.mirror.url, 'GET /healthz HTTP/1.0\r\n\r\n')
    expect([got.status, got.body.toString()]).toEqual([200, expect.stringContaining('ok')])
    const head = await rawHttp(scene.mirror.url, `HEAD ${FILE} HTTP/1.0\r\n\r\n`)
    expect([head.status, head.body.length, head.headers['x-repo-commit']]).toEqual([
      200,
      0,
      scene.commit('acme/open'),
    ])
  })

  it('HTTP/1.1 without Host is refused', async () => {
    const scene = await open()
    for (const target of ['/healthz', FILE]) {
      const got = await rawHttp(scene.mirror.url, `GET ${target} HTTP/1.1\r\nConnection: close\r\n\r\n`)
      expect([got.status, got.headers['x-error-message']]).toEqual([400, 'The request has no Host header.'])
    }
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('Transfer-Encoding is refused, and nothing after it is read', async () => {
    const scene = await open()
    const got = await rawHttp(
      scene.mirror.url,
      `POST /api/validate-yaml HTTP/1.0\r\nHost: m\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET ${FILE} HTTP/1.1\r\nHost: m\r\n\r\n`,
    )
    expect([got.status, got.headers['x-error-message'], got.end !== 'silent']).toEqual([
      400,
      'An HTTP/1.0 request must not have Transfer-Encoding.',
      true,
    ])
    expect(got.text.match(/^HTTP\/1\.1 /gm)?.length).toBe(1)
    expect(scene.hub.ledger.requests()).toEqual([])
  })

  it('links in an answer lead to the address that was reached', async () => {
    const scene = await open()
    scene.hub.faults.add({
      where: 'hub',
      addHeaders: { link: `<${scene.hub.url}/api/organizations/acme/members?p=2>; rel="next"` },
    })
    const got = await rawHttp(scene.mirror.url, 'GET /acme/open/raw/main/config.json HTTP/1.0\r\n\r\n')
    expect(got.headers['link']).toBe(`<${scene.mirror.url}/api/organizations/acme/members?p=2>; rel="next"`)
  })

  it('a kept connection stays open if the length is known', async () => {
    const scene = await open()
    const one = `GET ${FILE} HTTP/1.0\r\nHost: m\r\nConnection: keep-alive\r\n\r\n`
    const last = `GET ${FILE} HTTP/1.0\r\nHost: m\r\n\r\n`
    const got = await rawHttp(scene.mirror.url, one + last)
    expect([got.text.match(/^HTTP\/1\.1 200/gm)?.length, got.end]).toEqual([2, 'closed'])
  })

  it('a body that breaks off ends with a reset, not with an end that looks whole', async () => {
    const scene = await open()
    // In chunks of the Hub, so that the mirror can tell.
    scene.hub.faults.add({ where: 'hub', match: /\/raw\//, gzipAlways: true, cutAfterBytes: 10 })
    const got = await rawHttp(scene.mirror.url, 'GET /acme/open/raw/main/config.json HTTP/1.0\r\n\r\n')
    expect([got.status, got.headers['content-length'], got.end]).toEqual([200, undefined, 'reset'])
  })

  it('a large file arrives whole', async () => {
    const scene = await open()
    const got = await rawHttp(scene.mirror.url, `GET ${LARGE} HTTP/1.0\r\n\r\n`)
    expect([got.status, got.body.length, got.body.equals(scene.bytes('acme/open', 'w.bin'))]).toEqual([
      200,
      LARGE_BYTES,
      true,
    ])
  })
})
