// The mirror behind forward proxies that stop requests in one way each, or stop none.

import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { type ForwardProxyOptions, startForwardProxy } from '../../../hub-simulator/forward-proxy.ts'
import { GOOD_CERTIFICATE, OTHER_CERTIFICATE, TEST_CA } from '../../../support/certificates.ts'
import { freePort } from '../../../support/free-port.ts'
import { TOKENS } from '../../../support/mirror-world.ts'
import type { Scene } from '../../../support/scene.ts'
import { SECOND_CA, SECOND_CERTIFICATE, SECOND_KEY } from '../../../support/tls-certificates.ts'
import { startTlsFront } from '../../../support/tls-front.ts'
import type { Row } from './play.ts'

/** Starts the proxies, which stop with the test. `folder` gets files of certificates. */
export async function proxyRows({ mirror }: Scene, folder: string): Promise<readonly Row[]> {
  const [ca, both] = [join(folder, 'proxied.pem'), join(folder, 'both.pem')]
  await writeFile(ca, TEST_CA)
  await writeFile(both, TEST_CA + SECOND_CA)
  const started = async (certificate: string, key?: string, to = mirror.url): Promise<string> => {
    const front = await startTlsFront(to, certificate, key)
    onTestFinished(() => front.close())
    return front.url
  }
  const [front, opening] = [await started(GOOD_CERTIFICATE), await started(SECOND_CERTIFICATE, SECOND_KEY)]
  const row = async (
    name: string,
    url: string,
    options: Partial<ForwardProxyOptions> & {
      readonly login?: string
      readonly trusted?: string
      readonly user?: string
      /** The proxy speaks TLS with this certificate. */
      readonly certificate?: string
      readonly scheme?: string
    },
    first: string,
    ...says: readonly string[]
  ): Promise<Row> => {
    const { user, trusted = ca, certificate, scheme = 'http', ...behaviour } = options
    const proxy = await startForwardProxy({ to: new URL(url).host, ...behaviour })
    onTestFinished(() => proxy.close())
    const address =
      certificate === undefined
        ? proxy.address
        : new URL(await started(certificate, undefined, `http://${proxy.address}`)).host
    const variable = `${new URL(url).protocol.slice(0, -1)}_proxy`
    const env = {
      HF_TOKEN: TOKENS.alice,
      SSL_CERT_FILE: trusted,
      [variable]: `${scheme}://${user === undefined ? '' : `${user}@`}${address}`,
    }
    const place = first === 'proxy' ? [variable, `the proxy ${address}`] : []
    return { name, url, first, env, args: ['--repo', 'acme/secret'], says: [...place, ...says] }
  }
  const [plain, hidden] = [mirror.url, 'http://mirror.invalid']
  const to = new URL(plain).host
  const login = 'user:right'
  const tls = { scheme: 'https', certificate: GOOD_CERTIFICATE }
  const none = `127.0.0.1:${await freePort()}`
  return [
    await row('a proxy that passes on', plain, {}, ''),
    await row('… a name that only it knows', hidden, { to }, ''),
    await row('… with its password', plain, { login, user: login }, ''),
    await row(
      '… and its password is missing',
      plain,
      { login },
      'proxy',
      '407',
      'http_proxy has none',
      'Basic',
    ),
    await row(
      '… and its password is wrong',
      hidden,
      { to, login, user: 'user:wrong' },
      'proxy',
      '407',
      'is refused',
    ),
    await row('a proxy that answers 403', plain, { pageStatus: 403 }, 'proxy', 'it answers 403'),
    await row('… 503, a name that only it knows', hidden, { to, pageStatus: 503 }, 'proxy', 'it answers 503'),
    await row('… 200 with a page', plain, { pageStatus: 200 }, 'proxy', 'it answers 200'),
    await row('a proxy for https that passes on', front, {}, 'links'),
    await row('… and its password is missing', front, { login }, 'proxy', '407', 'https_proxy has none'),
    await row('… that answers CONNECT with 403', front, { connectStatus: 403 }, 'proxy', 'it answers 403'),
    await row('… 503', front, { connectStatus: 503 }, 'proxy', 'it answers 503'),
    await row('… that breaks CONNECT off', front, { to: none }, 'proxy', 'breaks them off'),
    await row(
      '… that opens TLS',
      front,
      { to: new URL(opening).host },
      'proxy',
      'issued by "hubmirror second',
      'the proxy opens TLS',
    ),
    await row('… and its CA is trusted', front, { to: new URL(opening).host, trusted: both }, 'links'),
    await row('… before a mirror with a CA of its own', opening, {}, 'tls'),
    await row('a proxy with TLS', plain, { ...tls, login, user: login }, ''),
    await row('… for https', front, { ...tls, login, user: login }, 'links'),
    await row('… for https, and its password is missing', front, { ...tls, login }, 'proxy', '407'),
    await row('… that opens TLS', front, { ...tls, to: new URL(opening).host }, 'proxy', 'opens TLS'),
    await row(
      '… with a wrong certificate',
      front,
      { ...tls, certificate: OTHER_CERTIFICATE },
      'proxy',
      'by https',
    ),
    await row('a plain proxy by https://', plain, { scheme: 'https' }, 'proxy', 'by https'),
    await row('… https to a plain port', plain.replace('http:', 'https:'), {}, 'tls'),
  ]
}
