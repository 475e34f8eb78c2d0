// What a snapshot of a repo implies: whatever clients may ask of it, which a mirror then answers as the Hub does.

import { describe, expect, it } from 'vitest'
import { type Repo, type RepoType } from '../hub-simulator/repos.ts'
import type { Question, Reply } from './ask.ts'
import { asHub, essence } from './hub-answers.ts'
import { TOKENS } from './mirror-world.ts'
import { openScene, type Scene } from './scene.ts'

export const FORM = { 'content-type': 'application/x-www-form-urlencoded' }
export const JSON_TYPE = { 'content-type': 'application/json' }
export const OPEN_REPOS = [
  ['models', 'acme/open'],
  ['models', 'acme/odd'],
  ['models', 'legacy'],
  ['models', 'acme/old'],
  ['datasets', 'acme/data'],
  ['spaces', 'acme/demo'],
] as const

export type Name = readonly [RepoType, string]

export const json = (reply: Reply): unknown => JSON.parse(reply.body.toString())
export const repoOf = ({ world }: Scene, [type, id]: Name): Repo => {
  const repo = world.find(type, id)?.repo
  if (repo === undefined) throw new Error(`no ${id}`)
  return repo
}
export const headOf = (scene: Scene, name: Name) => {
  const commit = repoOf(scene, name).resolve('main')
  if (commit === undefined) throw new Error('no main')
  return commit
}
export const encoded = (path: string) => path.split('/').map(encodeURIComponent).join('/')
export const apiOf = ([type, id]: Name) => `/api/${type}/${id}`
export const webOf = ([type, id]: Name) => (type === 'models' ? `/${id}` : `/${type}/${id}`)

/** What huggingface_hub asks for one snapshot of main: today, or in its 0.x line, which asks for no tree. */
export async function takeSnapshot(scene: Scene, name: Name, generation: '2' | '0'): Promise<void> {
  const { id, files } = headOf(scene, name)
  const targets = [
    `${apiOf(name)}/revision/main`,
    ...(generation === '2' ? [`${apiOf(name)}/tree/${id}?recursive=true&expand=false`] : []),
  ]
  for (const target of targets) expect((await scene.ask(target)).status).toBe(200)
  for (const path of files.keys()) {
    const target = `${webOf(name)}/resolve/${id}/${encoded(path)}`
    expect((await scene.ask(target, { method: 'HEAD' })).status).toBe(200)
    expect((await scene.ask(target)).status).toBe(200)
  }
  await scene.settled()
}

/** Whatever may be asked of main, in the spellings of all clients. */
export function questionsOf(scene: Scene, name: Name): readonly (readonly [string, Question?])[] {
  const { id, files, trees } = headOf(scene, name)
  const api = apiOf(name)
  const folders = [...trees.keys()].filter((path) => path !== '')
  const paths = [...files.keys(), ...folders, 'none.txt']
  const form = new URLSearchParams(paths.map((path) => ['paths', path]))
  return [
    ...['', '?blobs=true', '?blobs=True', '?expand=sha&expand=private', '?expand[]=siblings'].flatMap(
      (query) =>
        [[api + query], [`${api}/revision/main${query}`], [`${api}/revision/${id}${query}`]] as const,
    ),
    ...['main', id].flatMap((revision) => [
      ...[
        '',
        '?recursive=true',
        '?recursive=True&expand=False',
        '?recursive=1',
        '?recursive=false&expand=false',
      ].map((query) => [`${api}/tree/${revision}${query}`] as const),
      ...folders.flatMap(
        (folder) =>
          [
            [`${api}/tree/${revision}/${encoded(folder)}`],
            [`${api}/tree/${revision}/${encodeURIComponent(folder)}?recursive=true&expand=false`],
          ] as const,
      ),
      [`${api}/tree/${revision}/additional_chat_templates?recursive=false&expand=false`] as const,
      [`${api}/paths-info/${revision}`, { method: 'POST', headers: FORM, body: String(form) }] as const,
      [
        `${api}/paths-info/${revision}`,
        { method: 'POST', headers: JSON_TYPE, body: JSON.stringify({ paths }) },
      ] as const,
      ...['none.txt', 'adapter_config.json', ...folders.map(encoded)].map(
        (path) => [`${webOf(name)}/resolve/${revision}/${path}`] as const,
      ),
    ]),
  ]
}

/** Declares the tests of a mirror that is offline, or whose Hub is away, after a snapshot by such a client. */
export function describeImplied(generation: '2' | '0'): void {
  describe(`after one snapshot by huggingface_hub ${generation}`, () => {
    it.each(OPEN_REPOS)(
      'everything that it implies about %s %s is answered as by the Hub',
      async (...name) => {
        const scene = await openScene()
        const questions = questionsOf(scene, name)
        const right: ReturnType<typeof essence>[] = []
        for (const [target, question] of questions)
          right.push(essence(await asHub(scene.hub.url, target, question)))
        await takeSnapshot(scene, name, generation)
        await scene.restart({ offline: true })
        scene.hub.ledger.clear()
        for (const how of name[1] === 'acme/open' ? ['HIT', 'STALE'] : ['HIT']) {
          if (how === 'STALE') {
            await scene.hub.stop()
            await scene.restart({ offline: false })
          }
          for (const [index, [target, question]] of questions.entries()) {
            const token = index % 2 === 0 ? undefined : TOKENS.bob
            const got = await scene.ask(target, { ...question, token })
            expect([target, essence(got)]).toEqual([target, right[index]])
            expect([target, got.headers['x-cache']]).toEqual([target, how])
            expect(got.headers['vary']).toBe('Authorization, Accept')
          }
          expect(scene.hub.ledger.requests()).toEqual([])
        }
      },
    )
  })
}
