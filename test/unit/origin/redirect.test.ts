import { describe, expect, it } from 'vitest'
import { MirrorError } from '../../../src/errors.ts'
import {
  isAllowedHost,
  mayCarryCredential,
  type RedirectPolicy,
  redirectTarget,
} from '../../../src/origin/redirect.ts'

const POLICY: RedirectPolicy = {
  base: new URL('https://huggingface.co/'),
  allowedHosts: ['hf.co', '*.hf.co', '*.huggingface.co', '192.0.2.7', '2001:db8::1'],
}
const FROM = new URL('https://huggingface.co/org/name/resolve/main/file.bin')

function codeOf(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof MirrorError) return error.code
    throw error
  }
  return 'followed'
}

describe('redirectTarget', () => {
  it.each([
    ['/api/resolve-cache/x', 'https://huggingface.co/api/resolve-cache/x'],
    ['other.bin?a=b', 'https://huggingface.co/org/name/resolve/main/other.bin?a=b'],
    ['//cdn-lfs.hf.co/x', 'https://cdn-lfs.hf.co/x'],
    [
      'https://cdn-lfs.hf.co/x?Expires=1&Signature=a%2Bb~',
      'https://cdn-lfs.hf.co/x?Expires=1&Signature=a%2Bb~',
    ],
    ['https://CDN-LFS.HF.CO/x', 'https://cdn-lfs.hf.co/x'],
    ['HTTPS://hf.co', 'https://hf.co/'],
    ['https://a.b.hf.co/', 'https://a.b.hf.co/'],
    ['https://hf.co:8443/', 'https://hf.co:8443/'],
    ['https://hf.co./x', 'https://hf.co./x'],
    ['https://192.0.2.7/x', 'https://192.0.2.7/x'],
    ['https://[2001:db8::1]/x', 'https://[2001:db8::1]/x'],
    ['https://huggingface.co:443/x', 'https://huggingface.co/x'],
    // Relative where the schemes are the same.
    ['https:evil.example', 'https://huggingface.co/org/name/resolve/main/evil.example'],
    // Controls within are dropped, as in browsers: what is judged is what will be asked.
    ['ht\ntps://cdn.hf.co/x', 'https://cdn.hf.co/x'],
    ['\\\\cdn.hf.co\\x', 'https://cdn.hf.co/x'],
  ])('goes to %j', (location, target) => {
    expect(redirectTarget(POLICY, FROM, location).href).toBe(target)
  })

  it.each([
    'https://evil.example/x',
    '//evil.example/x',
    '\\\\evil.example/x',
    '/\\evil.example/x',
    'https://hf.co.evil.example/',
    'https://evilhf.co/',
    'https://hf.co@evil.example/',
    'https://hf.co%2eevil.example/',
    'https://user@cdn.hf.co/',
    'https://user:password@cdn.hf.co/',
    'https://:password@huggingface.co/',
    'http://cdn.hf.co/',
    'http://huggingface.co/',
    'https://127.0.0.1/',
    'https://localhost/',
    'https://0x7f.1/',
    'https://2130706433/',
    'https://0/',
    'https://[::1]/',
    'https://[::ffff:127.0.0.1]/',
    'https://[::ffff:192.0.2.7]/',
    'https://169.254.169.254/latest/meta-data/',
    'https://192.0.2.8/',
    'https://hf.co。evil.example/',
    'ftp://cdn.hf.co/x',
    'file:///etc/passwd',
    'data:text/plain,x',
    'javascript:alert(1)',
    'gopher://hf.co/',
    'blob:https://huggingface.co/x',
  ])('refuses %j', (location) => {
    expect(codeOf(() => redirectTarget(POLICY, FROM, location))).toBe('redirect_refused')
  })

  it.each([
    'https://',
    'https://hf.co%00.evil.example/',
    'https://[::1',
    'https://a b.hf.co/',
    'https://hf.co:99999/',
  ])('cannot read %j', (location) => {
    expect(codeOf(() => redirectTarget(POLICY, FROM, location))).toBe('origin_bad_answer')
  })

  it('names the host for the log, and nothing of the query or the password', () => {
    try {
      redirectTarget(POLICY, FROM, `https://user:hunter2@${'x'.repeat(60)}.example/p?Signature=secret`)
      expect.unreachable()
    } catch (error) {
      expect(JSON.stringify((error as MirrorError).detail)).toContain('.example')
      expect(`${JSON.stringify((error as MirrorError).detail)} ${String(error)}`).not.toMatch(
        /hunter2|secret|user/,
      )
    }
  })

  it('judges a relative hop by the URL that it comes from', () => {
    const cdn = new URL('https://cdn.hf.co/a/b')
    expect(redirectTarget(POLICY, cdn, '/c').href).toBe('https://cdn.hf.co/c')
    expect(codeOf(() => redirectTarget(POLICY, new URL('https://gone.example/'), '/c'))).toBe(
      'redirect_refused',
    )
  })

  it('may lead to http if the origin itself uses http', () => {
    const policy = { base: new URL('http://127.0.0.1:8000/'), allowedHosts: ['127.0.0.2'] }
    const from = new URL('http://127.0.0.1:8000/x')
    expect(redirectTarget(policy, from, 'http://127.0.0.2:9/y').href).toBe('http://127.0.0.2:9/y')
    expect(redirectTarget(policy, from, '/y').href).toBe('http://127.0.0.1:8000/y')
    // Another port is another server.
    expect(codeOf(() => redirectTarget(policy, from, 'http://127.0.0.1:8001/y'))).toBe('redirect_refused')
  })
})

describe('mayCarryCredential', () => {
  it.each([
    ['https://huggingface.co/anything?x', true],
    ['https://HUGGINGFACE.co:443/', true],
    ['http://huggingface.co/', false],
    ['https://huggingface.co:8443/', false],
    ['https://huggingface.co./', false],
    ['https://cdn.huggingface.co/', false],
    ['https://huggingface.co.evil.example/', false],
    ['https://hf.co/', false],
    ['blob:https://evil.example/x', false],
  ])('%s: %s', (url, may) => {
    expect(mayCarryCredential(POLICY, new URL(url))).toBe(may)
  })
})

describe('isAllowedHost', () => {
  it.each([
    ['*.hf.co', 'a.hf.co', true],
    ['*.hf.co', 'A.B.HF.CO', true],
    ['*.HF.co', 'a.hf.co', true],
    ['*.hf.co', 'hf.co', false],
    ['*.hf.co', '.hf.co', false],
    ['*.hf.co', 'evilhf.co', false],
    ['*.hf.co', 'a.hf.co.evil', false],
    ['hf.co', 'hf.co', true],
    ['hf.co', 'a.hf.co', false],
    ['::1', '[::1]', true],
    ['[::1]', '[::1]', true],
    ['*', 'a', false],
  ])('%j allows %j: %s', (pattern, host, allowed) => {
    expect(isAllowedHost([pattern], host)).toBe(allowed)
  })

  it('an empty list allows nothing', () => {
    expect(isAllowedHost([], 'hf.co')).toBe(false)
  })
})
