// URLs in JSON that is only passed through: those that clients follow lead to the mirror, and no others are changed.

import { describe, expect, it } from 'vitest'
import { lfs } from '../hub-simulator/repos.ts'
import { TOKENS } from '../support/mirror-world.ts'
import { openScene, type Scene } from '../support/scene.ts'

const LIST = '/api/datasets/acme/data/parquet'
const JSON_TYPE = { 'content-type': 'application/json' }

function withParquet(scene: Scene): Buffer {
  const bytes = Buffer.alloc(40_000, 'PAR1')
  const data = scene.world.dataset('acme/data')
  const file = { 'default/train/0000.parquet': lfs(bytes), 'other/test/0000.parquet': lfs('PAR1') }
  data.ref('refs/convert/parquet', data.commit(file, { branch: 'refs/convert/parquet' }))
  return bytes
}

/** Lets the Hub answer the next request with this JSON. */
function answer(scene: Scene, body: unknown, headers: Record<string, string> = {}): void {
  const status = { code: 200, headers: { ...JSON_TYPE, ...headers }, body: JSON.stringify(body) }
  scene.hub.faults.add({ where: 'hub', status })
}

describe('the list of exported Parquet files', () => {
  it('leads to the mirror, and from there to the bytes', async () => {
    const scene = await openScene()
    const bytes = withParquet(scene)
    const got = await scene.ask(LIST)
    expect(JSON.parse(got.body.toString())).toEqual({
      default: { train: [`${scene.mirror.url}${LIST}/default/train/0.parquet`] },
      other: { test: [`${scene.mirror.url}${LIST}/other/test/0.parquet`] },
    })
    expect(got.headers['content-length']).toBe(String(got.body.length))
    const first = await scene.ask(`${LIST}/default/train/0.parquet`)
    const location = new URL(first.headers['location'] ?? '', scene.mirror.url)
    expect([first.status, location.origin]).toEqual([302, scene.mirror.url])
    expect((await scene.ask(location.pathname)).body.equals(bytes)).toBe(true)
  })

  it('leads to the mirror in its narrower forms too, which are lists, and by the name that the mirror is given', async () => {
    const scene = await openScene({ config: { publicUrl: new URL('https://hub.corp.example/hf') } })
    withParquet(scene)
    const url = `https://hub.corp.example/hf${LIST}/default/train/0.parquet`
    expect(JSON.parse((await scene.ask(`${LIST}/default`)).body.toString())).toEqual({ train: [url] })
    expect(JSON.parse((await scene.ask(`${LIST}/default/train`)).body.toString())).toEqual([url])
  })

  it.each([
    ['https://huggingface.co', true],
    ['http://huggingface.co', true],
    ['https://hf.co', true],
    ['https://huggingface.co.evil.example', false],
    ['https://cdn.example', false],
  ])('turns %s: %s', async (base, isTurned) => {
    const scene = await openScene()
    answer(scene, { default: { train: [`${base}${LIST}/default/train/0.parquet`] } })
    const [url] = (JSON.parse((await scene.ask(LIST)).body.toString()) as { default: { train: string[] } })
      .default.train
    expect(url).toBe(`${isTurned ? scene.mirror.url : base}${LIST}/default/train/0.parquet`)
  })

  it('leads to the mirror also if it is large, and is not passed on if it is no JSON', async () => {
    const scene = await openScene()
    const large = {
      default: { train: Array.from({ length: 60_000 }, () => `${scene.hub.url}${LIST}/default/train/0`) },
    }
    answer(scene, large)
    const got = await scene.ask(LIST)
    const right = JSON.stringify(large).replaceAll(scene.hub.url, scene.mirror.url)
    expect([got.whole, got.body.toString() === right]).toEqual([true, true])
    scene.clock.advance(60_000)
    scene.hub.faults.add({
      where: 'hub',
      status: { code: 200, headers: JSON_TYPE, body: '<html>' },
      match: /parquet/,
    })
    const again = await scene.ask(LIST)
    expect([again.status, again.headers['x-cache'], again.body.equals(got.body)]).toEqual([
      200,
      'STALE',
      true,
    ])
  })

  it('leads to the mirror also if a gateway has encoded it', async () => {
    const scene = await openScene()
    withParquet(scene)
    const plain = await scene.ask(LIST)
    scene.hub.faults.add({ where: 'hub', gzipAlways: true })
    const got = await scene.ask(LIST)
    expect([got.status, got.headers['content-encoding'], got.body.toString()]).toEqual([
      200,
      undefined,
      plain.body.toString(),
    ])
  })

  it('is not passed on in a coding that the mirror cannot decode', async () => {
    const scene = await openScene()
    answer(scene, {}, { 'content-encoding': 'zstd' })
    const got = await scene.ask(LIST)
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginBadAnswer'])
  })

  it('that breaks off is reported as broken', async () => {
    const scene = await openScene()
    withParquet(scene)
    scene.hub.faults.add({ where: 'hub', match: /parquet/, cutAfterBytes: 20 })
    const got = await scene.ask(LIST)
    expect([got.status, got.headers['x-error-code']]).toEqual([502, 'OriginUnreachable'])
  })
})

it('addresses in the description of a dataset (croissant) lead to the mirror', async () => {
  const scene = await openScene()
  const contentUrl = 'https://huggingface.co/datasets/acme/data/tree/refs%2Fconvert%2Fparquet/default'
  const description = `${scene.hub.url} is quoted here`
  answer(
    scene,
    { '@type': 'sc:Dataset', description, distribution: [{ contentUrl }] },
    { 'content-type': 'application/ld+json' },
  )
  const got = await scene.ask('/api/datasets/acme/data/croissant')
  expect(JSON.parse(got.body.toString())).toEqual({
    '@type': 'sc:Dataset',
    description,
    distribution: [{ contentUrl: contentUrl.replace('https://huggingface.co', scene.mirror.url) }],
  })
})

describe('the answer to a write', () => {
  const commit = (summary: string): string =>
    [
      { key: 'header', value: { summary, description: '' } },
      { key: 'file', value: { path: 'a.txt', content: 'aGk=', encoding: 'base64' } },
    ]
      .map((line) => JSON.stringify(line))
      .join('\n')

  it('names the new repo by the mirror if the Hub has another name than its public one', async () => {
    const scene = await openScene()
    const post = async (target: string, body: string) =>
      JSON.parse(
        (
          await scene.ask(target, { method: 'POST', token: TOKENS.alice, headers: JSON_TYPE, body })
        ).body.toString(),
      ) as Record<string, string>
    const made = await post('/api/repos/create', '{"name":"mine","type":"model"}')
    expect(made['url']).toBe(`${scene.mirror.url}/alice/mine`)
    expect((await post('/api/repos/create', '{"name":"mine","type":"model"}'))['url']).toBe(made['url'])
    const committed = await post('/api/models/alice/mine/commit/main?create_pr=1', commit('first'))
    expect(committed['commitUrl']).toBe(`${scene.mirror.url}/alice/mine/commit/${committed['commitOid']}`)
    expect(committed['pullRequestUrl']).toBe(`${scene.mirror.url}/alice/mine/discussions/1`)
  })

  it.each([
    ['/alice/mine', '//alice/mine'],
    ['/datasets/alice/mine', '//datasets/alice/mine'],
    ['/alice/mine/commit/0123', '//alice/mine/commit/0123'],
  ])('has an empty segment behind the base path: %s', async (path, expected) => {
    const scene = await openScene({ config: { basePath: '/hugging-face' } })
    for (const base of [scene.hub.url, 'https://huggingface.co']) {
      answer(scene, { url: base + path, name: `${base} mine` })
      const got = await scene.ask('/hugging-face/api/repos/create', {
        method: 'POST',
        token: TOKENS.alice,
        headers: JSON_TYPE,
        body: '{}',
      })
      expect(JSON.parse(got.body.toString())).toEqual({
        url: `${scene.mirror.url}/hugging-face${expected}`,
        name: `${base} mine`,
      })
    }
  })

  it('names the mirror to huggingface_hub below 1.0, of which 0.20 knows no other host', async () => {
    const scene = await openScene()
    answer(scene, { url: 'https://huggingface.co/alice/mine' })
    const got = await scene.ask('/api/repos/create', {
      method: 'POST',
      token: TOKENS.alice,
      headers: { ...JSON_TYPE, 'user-agent': 'unknown/None; hf_hub/0.20.3; python/3.11.2' },
      body: '{}',
    })
    expect(JSON.parse(got.body.toString())).toEqual({ url: `${scene.mirror.url}/alice/mine` })
  })

  it('keeps the public name of the Hub, which newer clients take for their endpoint', async () => {
    const scene = await openScene()
    const body = { url: 'https://huggingface.co/alice/mine', name: 'alice/mine' }
    answer(scene, body)
    const got = await scene.ask('/api/repos/create', {
      method: 'POST',
      token: TOKENS.alice,
      headers: JSON_TYPE,
      body: '{}',
    })
    expect(JSON.parse(got.body.toString())).toEqual(body)
  })
})

it.each([
  ['GET', '/api/settings/webhooks'],
  ['GET', '/api/models/acme/open/discussions/1'],
  ['POST', '/api/models/acme/open/discussions'],
  ['GET', '/api/collections/acme/best'],
])('text that people wrote, and may write back, stays unchanged: %s %s', async (method, target) => {
  const scene = await openScene()
  const body = { url: `${scene.hub.url}/hook`, text: 'https://huggingface.co/acme is mine', big: 1 }
  answer(scene, body)
  const got = await scene.ask(target, {
    method,
    token: TOKENS.alice,
    ...(method === 'POST' ? { body: '{}' } : {}),
  })
  expect(got.body.toString()).toBe(JSON.stringify(body))
})
