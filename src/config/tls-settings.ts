// The settings of the mirror's own TLS. What stands in these files is read and checked by tls-files.ts.

import { filePath } from './parse.ts'
import type { Setting } from './setting.ts'

export const TLS_SETTINGS = {
  tlsCert: {
    key: 'tls.cert',
    group: 'Listening',
    form: 'file',
    meaning:
      'PEM file with the certificate of the mirror, followed by those that lead to its authority. With it the port speaks HTTPS only. The file is read again when it changes',
    parse: filePath(),
    absent: 'none',
  },
  tlsKey: {
    key: 'tls.key',
    group: 'Listening',
    form: 'file',
    meaning: 'PEM file with the private key of that certificate, without a passphrase',
    parse: filePath(),
    absent: 'none',
  },
  tlsClientCa: {
    key: 'tls.clientCa',
    group: 'Listening',
    form: 'file',
    meaning:
      'PEM file with certificates of authorities. With it every client must present a certificate that one of them has issued, also for `/healthz`',
    parse: filePath(),
    absent: 'none',
  },
} as const satisfies Record<string, Setting>
