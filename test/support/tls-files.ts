// A certificate and its key in files, as an operator has them.

import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { GOOD_CERTIFICATE, SERVER_KEY } from './certificates.ts'

export interface TlsFiles {
  readonly cert: string
  readonly key: string
  /** Puts other files in their place, as a renewal does. */
  replace(cert: string, key: string): void
}

/** Writes the files into a folder that is removed with the test. */
export function tlsFiles(cert = GOOD_CERTIFICATE, key = SERVER_KEY): TlsFiles {
  const folder = mkdtempSync(join(tmpdir(), 'hubmirror-tls-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const paths = { cert: join(folder, 'tls.crt'), key: join(folder, 'tls.key') }
  const put = (path: string, text: string): void => {
    writeFileSync(`${path}.new`, text, { mode: 0o600 })
    renameSync(`${path}.new`, path)
  }
  const replace = (nextCert: string, nextKey: string): void => {
    put(paths.cert, nextCert)
    put(paths.key, nextKey)
  }
  replace(cert, key)
  return { ...paths, replace }
}
