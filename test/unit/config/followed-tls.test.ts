import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { FollowedTls } from '../../../src/config/followed-tls.ts'
import { GOOD_CERTIFICATE, SERVER_KEY } from '../../support/certificates.ts'
import { SECOND_CERTIFICATE, SECOND_KEY } from '../../support/tls-certificates.ts'

/** Files in a new folder, and what follows them. */
function follow(folder = newFolder()) {
  const paths = { tlsCert: join(folder, 'tls.crt'), tlsKey: join(folder, 'tls.key'), tlsClientCa: undefined }
  const events: string[] = []
  let now = 0
  const make = () =>
    new FollowedTls({
      paths,
      monotonic: () => now,
      onChange: ({ cert }) => events.push(cert === SECOND_CERTIFICATE ? 'second' : 'first'),
      onFault: ({ name, cure }) => events.push(`${name}: ${cure}`),
    })
  /** As a renewal does: a new file takes the name. */
  const replace = (name: 'tlsCert' | 'tlsKey', text: string) => {
    writeFileSync(`${paths[name]}.new`, text)
    renameSync(`${paths[name]}.new`, paths[name])
  }
  return { folder, paths, events, make, replace, wait: (ms: number) => (now += ms) }
}

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'hubmirror-tls-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}

function started() {
  const place = follow()
  place.replace('tlsCert', GOOD_CERTIFICATE)
  place.replace('tlsKey', SERVER_KEY)
  return { ...place, files: place.make() }
}

const WRONG_KEY = expect.stringContaining('tlsKey: this key does not belong to the certificate') as unknown

describe('the files of TLS', () => {
  it('are read again a second later, when they have changed', () => {
    const { files, events, replace, wait } = started()
    const first = files.current()
    expect(first.cert).toBe(GOOD_CERTIFICATE)
    replace('tlsKey', SECOND_KEY)
    replace('tlsCert', SECOND_CERTIFICATE)
    wait(999)
    expect(files.current()).toBe(first)
    wait(1)
    expect(files.current()).toMatchObject({ cert: SECOND_CERTIFICATE, key: SECOND_KEY })
    expect(files.current().ticketKeys).not.toEqual(first.ticketKeys)
    expect(events).toEqual(['second'])
    wait(1000)
    expect(files.current()).toBe(files.current())
    expect(events).toEqual(['second'])
  })

  it('are read again at once on demand', () => {
    const { files, replace } = started()
    replace('tlsKey', SECOND_KEY)
    replace('tlsCert', SECOND_CERTIFICATE)
    files.check()
    expect(files.current().cert).toBe(SECOND_CERTIFICATE)
  })

  it('may be links that point elsewhere from one moment to the next, as those of Kubernetes', () => {
    const folder = newFolder()
    for (const [name, cert, key] of [
      ['..1', GOOD_CERTIFICATE, SERVER_KEY],
      ['..2', SECOND_CERTIFICATE, SECOND_KEY],
    ] as const) {
      mkdirSync(join(folder, name))
      writeFileSync(join(folder, name, 'tls.crt'), cert)
      writeFileSync(join(folder, name, 'tls.key'), key)
    }
    symlinkSync('..1', join(folder, '..data'))
    for (const name of ['tls.crt', 'tls.key']) symlinkSync(join('..data', name), join(folder, name))
    const { make, events } = follow(folder)
    const files = make()
    symlinkSync('..2', join(folder, '..new'))
    renameSync(join(folder, '..new'), join(folder, '..data'))
    files.check()
    expect(files.current()).toMatchObject({ cert: SECOND_CERTIFICATE, key: SECOND_KEY })
    expect(events).toEqual(['second'])
  })

  it('stay in use without a word while a renewal has replaced one of the two', () => {
    const { files, events, replace } = started()
    replace('tlsCert', SECOND_CERTIFICATE)
    files.check()
    expect([files.current().cert, events]).toEqual([GOOD_CERTIFICATE, []])
    replace('tlsKey', SECOND_KEY)
    files.check()
    expect([files.current().cert, events]).toEqual([SECOND_CERTIFICATE, ['second']])
  })

  it('are reported once for each change that leaves them wrong, and the last valid ones stay in use', () => {
    const { files, events, replace } = started()
    replace('tlsKey', SECOND_KEY)
    for (let check = 0; check < 4; check += 1) files.check()
    expect(events).toEqual([WRONG_KEY])
    replace('tlsCert', 'nothing')
    for (let check = 0; check < 4; check += 1) files.check()
    expect(events).toEqual([WRONG_KEY, 'tlsCert: expected PEM with a certificate; this file contains none'])
    expect(files.current()).toMatchObject({ cert: GOOD_CERTIFICATE, key: SERVER_KEY })
    replace('tlsCert', SECOND_CERTIFICATE)
    files.check()
    expect(files.current().cert).toBe(SECOND_CERTIFICATE)
  })

  it('may be missing for a while', () => {
    const { files, events, paths, replace } = started()
    const first = files.current()
    rmSync(paths.tlsCert)
    for (let check = 0; check < 3; check += 1) files.check()
    expect([files.current(), events]).toEqual([first, ['tlsCert: expected a readable PEM file (ENOENT)']])
    replace('tlsCert', GOOD_CERTIFICATE)
    files.check()
    expect([files.current().cert, events.at(-1)]).toEqual([GOOD_CERTIFICATE, 'first'])
  })

  it('must be right at the start', () => {
    const { make, paths } = follow()
    expect(make).toThrow(`${paths.tlsCert}: expected a readable PEM file (ENOENT)`)
  })
})
