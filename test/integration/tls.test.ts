// A mirror that speaks TLS itself: the same answers as by plain HTTP, and links that lead back by https.

import { createHash } from 'node:crypto'
import { get } from 'node:https'
import { text } from 'node:stream/consumers'
import { connect } from 'node:tls'
import { describe, expect, it } from 'vitest'
import { cachedScene, comparable, FULL_PATH } from '../support/cached-scene.ts'
import { EXPIRED_CERTIFICATE, GOOD_CERTIFICATE, SERVER_KEY } from '../support/certificates.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { rawHttp } from '../support/raw-http.ts'
import { openScene } from '../support/scene.ts'
import { metricValue } from '../support/start-mirror.ts'
import { SECOND_CERTIFICATE, SECOND_KEY } from '../support/tls-certificates.ts'
import { tlsFiles } from '../support/tls-files.ts'

const FILE = '/acme/open/resolve/main/config.json'
const EXPIRY = 'hubmirror_tls_certificate_expiry_timestamp_seconds'

function tlsConfig(files = tlsFiles()) {
  return { tlsCert: files.cert, tlsKey: files.key }
}

/** The name of the certificate that a new connection gets. */
function certificateAt(url: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { port: Number(new URL(url).port), host: '127.0.0.1', rejectUnauthorized: false },
      () => {
        resolve(String(socket.getPeerCertificate().subject.CN))
        socket.destroy()
      },
    )
    socket.on('error', reject)
  })
}

/** What is answered to a client that accepts every certificate. */
function askAnyway(base: string, target: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get(`${base}${target}`, { rejectUnauthorized: false, agent: false }, (message) =>
      resolve(text(message)),
    ).on('error', reject)
  })
}

describe.each([1, 2])('a mirror that speaks TLS itself (processes that answer: %i)', (workers) => {
  it('serves files, ranges and refusals, and says https of itself', async () => {
    const scene = await openScene({ config: { ...tlsConfig(), workers } })
    expect(scene.mirror.url).toMatch(/^https:/)
    const whole = await scene.ask('/acme/open/resolve/main/w.bin')
    const bytes = scene.bytes('acme/open', 'w.bin')
    expect([whole.status, whole.body.equals(bytes)]).toEqual([200, true])
    await scene.settled()
    for (const range of ['bytes=7-99', 'bytes=1000000-2999999', 'bytes=-5']) {
      const part = await scene.ask('/acme/open/resolve/main/w.bin', { headers: { range } })
      expect([part.status, part.whole]).toEqual([206, true])
      const [from = 0, to = 0] = (part.headers['content-range']?.match(/\d+/g) ?? []).map(Number)
      expect(part.body.equals(bytes.subarray(from, to + 1))).toBe(true)
    }
    expect((await scene.ask('/acme/secret/resolve/main/w.bin')).status).toBe(401)
    expect((await scene.ask('/acme/secret/resolve/main/w.bin', { token: TOKENS.alice })).status).toBe(200)

    const page = await scene.ask('/api/models/acme/open/commits/main?limit=1')
    expect(page.headers['link']).toContain(`<${scene.mirror.url}/api/models/acme/open/commits/main?`)
    const old = await scene.ask('/acme/old/raw/main/config.json')
    expect(new URL(old.headers['location'] ?? '', scene.mirror.url).origin).toBe(scene.mirror.url)
    const oid = createHash('sha256').update(bytes).digest('hex')
    const objects = [{ oid, size: bytes.length }]
    const batch = await scene.ask('/acme/open.git/info/lfs/objects/batch', {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.git-lfs+json' },
      body: JSON.stringify({ operation: 'download', transfers: ['basic'], objects }),
    })
    const links = batch.body.toString().match(/"href":"[^"]+/g) ?? []
    expect(links.length).toBeGreaterThan(0)
    for (const link of links) expect(link).toContain(`"href":"${scene.mirror.url}/`)
  })

  it('believes a trusted proxy that speaks TLS to it about the scheme of its clients', async () => {
    const scene = await openScene({ config: { ...tlsConfig(), workers, trustProxy: ['127.0.0.1'] } })
    const headers = { 'x-forwarded-proto': 'http', 'x-forwarded-for': '10.1.2.3', host: 'hub.example' }
    const page = await scene.ask('/api/models/acme/open/commits/main?limit=1', { headers })
    expect(page.headers['link']).toContain('<http://hub.example/api/')
  })

  it('repeats cached responses with the same fields', async () => {
    const scene = await cachedScene({ ...tlsConfig(), workers })
    await scene.warm(FILE)
    const full = await scene.asks(FILE, { headers: FULL_PATH })
    const fast = await scene.asks(FILE)
    expect([full.cached, fast.cached]).toEqual([false, true])
    expect(comparable(fast)).toEqual(comparable(full))
  })

  it('takes a new certificate when its files change, and keeps the last valid one when they are wrong', async () => {
    const files = tlsFiles()
    const scene = await openScene({ config: { ...tlsConfig(files), workers } })
    expect(await certificateAt(scene.mirror.url)).toBe('good')
    expect(metricValue(await scene.mirror.metrics(), EXPIRY)).toBe(Date.parse('2120-01-01T00:00:00Z') / 1000)

    files.replace(SECOND_CERTIFICATE, SECOND_KEY)
    scene.clock.advance(1_000)
    expect(await certificateAt(scene.mirror.url)).toBe('second')
    expect(scene.mirror.logLines('the TLS files have changed; new connections use the new ones').length).toBe(
      1,
    )

    files.replace(SECOND_CERTIFICATE, SERVER_KEY)
    // Each reading of the metrics checks the files.
    await scene.mirror.metrics()
    expect(scene.mirror.logLines('cannot be used')).toEqual([])
    await scene.mirror.metrics()
    await scene.mirror.metrics()
    const [line, ...others] = scene.mirror.logLines('cannot be used; the last valid ones stay in use')
    expect([JSON.parse(line ?? '{}'), others]).toEqual([
      expect.objectContaining({
        path: files.key,
        reason: expect.stringContaining('does not belong to the certificate') as unknown,
      }),
      [],
    ])
    expect(await certificateAt(scene.mirror.url)).toBe('second')

    files.replace(EXPIRED_CERTIFICATE, SERVER_KEY)
    expect(metricValue(await scene.mirror.metrics(), EXPIRY)).toBe(Date.parse('2021-01-01T00:00:00Z') / 1000)
    expect(scene.mirror.logLines('expired on 2021-01-01T00:00:00Z; clients refuse it').length).toBe(1)
    files.replace(SECOND_CERTIFICATE, SECOND_KEY)
    scene.clock.advance(1_000)
    const ready = await scene.ask('/readyz')
    expect(JSON.parse(ready.body.toString())).toMatchObject({
      ready: true,
      checks: { certificate: { ok: true } },
    })
    expect(scene.mirror.logText()).not.toContain('PRIVATE KEY')
  })

  it('says that its certificate has expired, at the start and to those who look', async () => {
    const files = tlsFiles(EXPIRED_CERTIFICATE)
    const config = { ...tlsConfig(files), workers }
    const scene = await openScene({ config })
    expect(scene.mirror.logLines('expired on 2021-01-01T00:00:00Z; clients refuse it').length).toBe(1)
    await expect(scene.ask('/readyz')).rejects.toThrow('certificate has expired')
    const ready = await askAnyway(scene.mirror.url, '/readyz')
    expect(JSON.parse(ready)).toMatchObject({
      ready: true,
      checks: { certificate: { ok: false, detail: expect.stringContaining('expired on 2021') as unknown } },
    })
    files.replace(GOOD_CERTIFICATE, SERVER_KEY)
    scene.clock.advance(1_000)
    expect((await scene.ask('/readyz')).status).toBe(200)
  })

  it('answers plain HTTP with a sentence, and counts it', async () => {
    const scene = await openScene({ config: { ...tlsConfig(), workers } })
    const said = await rawHttp(
      scene.mirror.url,
      `GET ${FILE} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKENS.alice}\r\n\r\n`,
    )
    expect([said.status, said.headers['x-error-message']]).toEqual([
      400,
      'This port speaks HTTPS. Set HF_ENDPOINT to the same address with https://',
    ])
    const failures = 'hubmirror_tls_handshake_failures_total'
    const metrics = await scene.mirror.metrics()
    expect(metricValue(metrics, `${failures}{reason="plain-http"}`)).toBe(1)
    expect(metricValue(metrics, `${failures}{reason="timeout"}`)).toBe(0)
    expect(scene.hub.ledger.requests()).toEqual([])
  })
})

it('a mirror that speaks plain HTTP has no metric of a certificate', async () => {
  const scene = await openScene()
  expect(await scene.mirror.metrics()).not.toContain(`\n${EXPIRY}`)
  expect((await scene.ask('/readyz')).body.toString()).not.toContain('certificate')
})
