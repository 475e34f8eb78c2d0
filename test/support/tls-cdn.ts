// A CDN of the simulator that speaks TLS, so that other threads receive long bodies, and write them.

import { onTestFinished, vi } from 'vitest'
import { GOOD_CERTIFICATE } from './certificates.ts'
import { freePort } from './free-port.ts'
import { startTlsFront } from './tls-front.ts'

/** Starts the front of the CDN for one test. Resolves with the settings of a Hub whose CDN it is. */
export async function startTlsCdn() {
  vi.stubEnv('NODE_TLS_REJECT_UNAUTHORIZED', '0')
  onTestFinished(() => {
    vi.unstubAllEnvs()
  })
  const cdnPort = await freePort()
  const front = await startTlsFront(`http://127.0.0.1:${cdnPort}`, GOOD_CERTIFICATE)
  onTestFinished(() => front.close())
  return { cdnHost: '127.0.0.1', cdnPort, cdnUrl: front.url }
}
