import { expect, it } from 'vitest'
import { welcomeText } from '../../../src/commands/terminal.ts'
import { GOOD_CERTIFICATE, OTHER_CERTIFICATE } from '../../support/certificates.ts'
import { SECOND_CERTIFICATE } from '../../support/tls-certificates.ts'

const CONFIG = {
  host: '127.0.0.1',
  basePath: '/hugging-face',
  origin: new URL('https://huggingface.co'),
  cacheDir: '/data',
  offline: false,
}

/** What is shown for `HF_ENDPOINT`, and the command that looks at the mirror. */
function shown(config: Partial<typeof CONFIG>, certificate?: string) {
  const text = welcomeText({ ...CONFIG, ...config }, { version: '1.2.3', port: 8443, certificate })
  return [/HF_ENDPOINT=(\S+)/.exec(text)?.[1], /curl .*\/readyz/.exec(text)?.[0]]
}

it.each([
  ['without TLS', {}, undefined, 'http://127.0.0.1:8443', 'curl http://127.0.0.1:8443/readyz'],
  [
    'for the host',
    {},
    GOOD_CERTIFICATE,
    'https://127.0.0.1:8443',
    'curl --insecure https://127.0.0.1:8443/readyz',
  ],
  [
    'for the host, an address of IPv6',
    { host: '::1' },
    SECOND_CERTIFICATE,
    'https://[::1]:8443',
    'curl --insecure https://[::1]:8443/readyz',
  ],
  [
    'for another name',
    { host: '0.0.0.0' },
    OTHER_CERTIFICATE,
    'https://other.example:8443',
    'curl --insecure https://127.0.0.1:8443/readyz',
  ],
] as const)(
  'the welcome text has an address that works, with a certificate %s',
  (_, config, certificate, endpoint, curl) => {
    expect(shown(config, certificate)).toEqual([`${endpoint}/hugging-face`, curl])
  },
)
