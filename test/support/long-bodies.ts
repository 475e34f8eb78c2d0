// A mirror before a CDN that speaks TLS, from which it receives long bodies on other threads.

import { expect, it, onTestFinished, vi } from 'vitest'
import type { Config } from '../../src/config/keys.ts'
import { BodyThreads } from '../../src/origin/threads/body-threads.ts'
import type { Damage } from '../hub-simulator/faults.ts'
import { bytesOf, lfs } from '../hub-simulator/repos.ts'
import { openScene } from './scene.ts'
import { startTlsCdn } from './tls-cdn.ts'

export const MIB = 1024 * 1024
export const SIZE = 20 * MIB + 12_345
export const TARGET = '/acme/large/resolve/main/model.bin'

/** A scene whose CDN speaks TLS, and the requests that threads were given. */
export async function openTlsScene(
  sizeBytes = SIZE,
  settings: Partial<Config> | ((cdn: URL) => Promise<Partial<Config>>) = {},
) {
  const cdn = await startTlsCdn()
  const config = typeof settings === 'function' ? await settings(new URL(cdn.cdnUrl)) : settings
  const scene = await openScene({
    config: { redirectHosts: ['127.0.0.1'], ...config },
    hub: cdn,
    busy: true,
  })
  scene.world.model('acme/large').commit({ 'model.bin': lfs({ sizeBytes, seed: 5 }) })
  const fetched: { readonly url: URL; readonly headers: Readonly<Record<string, string>> }[] = []
  const fetch = Reflect.get(BodyThreads.prototype, 'fetch') as BodyThreads['fetch']
  const spy = vi.spyOn(BodyThreads.prototype, 'fetch').mockImplementation(function (
    this: BodyThreads,
    url,
    headers,
    signal,
  ) {
    fetched.push({ url, headers })
    return fetch.call(this, url, headers, signal)
  })
  onTestFinished(() => {
    spy.mockRestore()
  })
  return { ...scene, fetched, right: bytesOf(scene.world.model('acme/large'), 'main', 'model.bin') }
}

/** What a CDN does wrong: within a body, and by its status. */
export const DAMAGES: readonly [string, Damage][] = [
  ['cuts a body', { cutAfterBytes: 3 * MIB }],
  ['is overloaded', { status: { code: 503 } }],
]

/** More: at the beginning of an answer, by its length, by silence, and more of the same kinds. */
export const FURTHER_DAMAGES: readonly [string, Damage][] = [
  ['resets a connection before its answer', { resetBeforeHeaders: true }],
  ['names no length', { noContentLength: true }],
  ['sends the whole in place of a range', { ignoreRange: true }],
  ['is silent within a body', { stallAfterBytes: 3 * MIB }],
  ['ends a connection before its answer', { endBeforeHeaders: true }],
  ['resets a connection within a body', { cutAfterBytes: 3 * MIB, cutWith: 'rst' }],
  ['refuses a signed URL', { expireSignedUrls: true }],
  ['encodes a body', { gzipAlways: true }],
  ['sends another range', { wrongRange: true }],
  ['sends more than it announced', { extraBytes: 100 }],
]

/** Declares the tests of a CDN that does one thing wrong. */
export function describeDamages(damages: readonly [string, Damage][]): void {
  it.each(damages)('the file is right although the CDN %s', async (_, damage) => {
    const scene = await openTlsScene(SIZE, { originTimeoutMs: 2_000 })
    scene.hub.faults.add({ where: 'cdn', method: 'GET', ...damage })
    const reply = await scene.ask(TARGET)
    expect(reply.body.equals(scene.right)).toBe(true)
    expect(scene.fetched.length).toBeGreaterThan(0)
    await scene.settled()
    expect((await scene.ask(TARGET)).headers['x-cache']).toBe('HIT')
  })
}
