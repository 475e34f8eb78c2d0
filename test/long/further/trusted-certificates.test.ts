// Certificates of the Hub that a mirror trusts by NODE_EXTRA_CA_CERTS, and those that it does not trust.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { startForwardProxy } from '../../hub-simulator/forward-proxy.ts'
import { startHub } from '../../hub-simulator/server.ts'
import { ask } from '../../support/ask.ts'
import {
  EXPIRED_CERTIFICATE,
  GOOD_CERTIFICATE,
  OTHER_CERTIFICATE,
  TEST_CA,
} from '../../support/certificates.ts'
import { mirrorWorld } from '../../support/mirror-world.ts'
import { type Child, startChild } from '../../support/process.ts'
import { startTlsFront } from '../../support/tls-front.ts'

const CONFIG = '/acme/open/resolve/main/config.json'
const PASSED = '/acme/open/raw/main/config.json'

async function tlsFront(url: string, certificate: string): Promise<{ readonly url: string }> {
  const front = await startTlsFront(url, certificate)
  onTestFinished(() => front.close())
  return front
}

/** A mirror that trusts the authority of the tests, as a process: Node reads the variable when it starts. */
async function startTrusting(certificate: string, env: Record<string, string> = {}): Promise<Child> {
  const hub = await startHub({ world: mirrorWorld() })
  onTestFinished(() => hub.close())
  const front = await tlsFront(hub.url, certificate)
  const dir = await mkdtemp(join(tmpdir(), 'hubmirror-ca-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  await writeFile(join(dir, 'ca.pem'), TEST_CA)
  const child = await startChild({
    hub,
    cacheDir: join(dir, 'store'),
    env: {
      NODE_EXTRA_CA_CERTS: join(dir, 'ca.pem'),
      HUBMIRROR_ORIGIN: front.url,
      HUBMIRROR_REDIRECT_HOSTS: '127.0.0.2',
      ...env,
    },
  })
  onTestFinished(() => child.stop())
  return child
}

it.each([
  ['that has expired', EXPIRED_CERTIFICATE, /certificate of 127\.0\.0\.1:\d+ that has expired.*clock/],
  [
    'for another name',
    OTHER_CERTIFICATE,
    /certificate for another name than 127\.0\.0\.1:\d+.*HUBMIRROR_ORIGIN/,
  ],
])('a certificate %s is reported as such', async (_, certificate, text) => {
  const child = await startTrusting(certificate)
  for (const target of [PASSED, CONFIG]) {
    const got = await ask(child.url, target)
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
    expect(got.headers['x-error-message']).toMatch(text)
  }
})

it('an authority in NODE_EXTRA_CA_CERTS is trusted, also behind a proxy that requires a password', async () => {
  const hub = await startHub({ world: mirrorWorld() })
  onTestFinished(() => hub.close())
  const front = await tlsFront(hub.url, GOOD_CERTIFICATE)
  const proxy = await startForwardProxy({ to: new URL(front.url).host, login: 'user:pass' })
  onTestFinished(() => proxy.close())
  const child = await startTrusting(GOOD_CERTIFICATE, {
    HUBMIRROR_ORIGIN: front.url,
    https_proxy: `user:pass@${proxy.address}`,
  })
  for (const target of [CONFIG, PASSED]) expect((await ask(child.url, target)).status).toBe(200)
  const asked = proxy.asked.map(({ method, target }) => `${method} ${target}`)
  expect(new Set(asked)).toEqual(new Set([`CONNECT ${new URL(front.url).host}`]))
  expect(hub.ledger.requests({ server: 'hub' }).length).toBeGreaterThan(1)
})
