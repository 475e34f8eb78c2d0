// The mirror's own TLS in processes: workers use new certificates, too.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect, type TLSSocket } from 'node:tls'
import { expect, it, onTestFinished } from 'vitest'
import { startHub } from '../hub-simulator/server.ts'
import { ask } from '../support/ask.ts'
import { SERVER_KEY } from '../support/certificates.ts'
import { eventually } from '../support/eventually.ts'
import { mirrorWorld } from '../support/mirror-world.ts'
import { badLines, startChild } from '../support/process.ts'
import { metricValue } from '../support/start-mirror.ts'
import { SECOND_CERTIFICATE, SECOND_KEY } from '../support/tls-certificates.ts'
import { tlsFiles } from '../support/tls-files.ts'

const READ = 'the settings and the list of mirror tokens were read again'

/** A connection that stays open, and the name of the certificate it got. */
async function connected(port: number): Promise<{ readonly socket: TLSSocket; readonly name: string }> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false }, () =>
      resolve({ socket, name: String(socket.getPeerCertificate().subject.CN) }),
    )
    onTestFinished(() => void socket.destroy())
    socket.on('error', reject)
  })
}

function answered(socket: TLSSocket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once('data', (bytes: Buffer) => resolve(bytes.toString()))
    socket.once('close', () => reject(new Error('closed')))
    socket.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n')
  })
}

it.each([1, 3])(
  'new connections get the new certificate, in every process that answers (%i)',
  async (workers) => {
    const hub = await startHub({ world: mirrorWorld() })
    onTestFinished(() => hub.close())
    const cacheDir = mkdtempSync(join(tmpdir(), 'hubmirror-tls-cache-'))
    onTestFinished(() => rmSync(cacheDir, { recursive: true, force: true }))
    const files = tlsFiles()
    const child = await startChild({
      hub,
      cacheDir,
      env: {
        HUBMIRROR_WORKERS: String(workers),
        HUBMIRROR_TLS_CERT: files.cert,
        HUBMIRROR_TLS_KEY: files.key,
      },
    })
    onTestFinished(() => child.stop())
    expect(child.entries().find(({ msg }) => msg === 'listening')).toMatchObject({ tls: true })
    const port = Number(new URL(child.url).port)
    const old = await connected(port)
    expect([old.name, await answered(old.socket)]).toEqual(['good', expect.stringContaining('200 OK')])

    files.replace(SECOND_CERTIFICATE, SECOND_KEY)
    child.kill('SIGHUP')
    await eventually(
      () => child.log(),
      (log) => log.includes(READ),
    )
    const names = new Set<string>()
    for (let index = 0; index < 2 * workers; index += 1) names.add((await connected(port)).name)
    expect([...names]).toEqual(['second'])
    // The connection from before goes on.
    expect(await answered(old.socket)).toContain('200 OK')

    // A pair that does not fit is refused at SIGHUP with all other settings.
    files.replace(SECOND_CERTIFICATE, SERVER_KEY)
    child.kill('SIGHUP')
    await eventually(
      () => child.log(),
      (log) => log.includes('the settings are wrong; nothing has changed'),
    )
    expect(child.log()).toContain('does not belong to the certificate')
    expect((await connected(port)).name).toBe('second')

    // Without a signal, at the next connections.
    files.replace(SECOND_CERTIFICATE, SECOND_KEY)
    const file = await ask(child.url, '/acme/open/resolve/main/config.json')
    expect([file.status, file.body.toString()]).toEqual([200, '{"model_type":"open","v":2}\n'])
    const link = await ask(child.url, '/api/models/acme/open/commits/main?limit=1')
    expect(link.headers['link']).toContain(`<${child.url}/api/`)
    const metrics = (await ask(child.url, '/metrics')).body.toString()
    const expiry = metricValue(metrics, 'hubmirror_tls_certificate_expiry_timestamp_seconds')
    expect(expiry).toBe(Date.parse('2120-01-01T00:00:00Z') / 1000)
    expect(child.log()).not.toContain('PRIVATE KEY')
    expect(badLines(child.log()).filter((line) => !/nothing has changed|cannot be used/.test(line))).toEqual(
      [],
    )
  },
)
