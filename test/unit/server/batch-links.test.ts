import { randomBytes } from 'node:crypto'
import { expect, it } from 'vitest'
import { parseRepoId, type RepoId } from '../../../src/hub/names.ts'
import { rewriteBatch } from '../../../src/server/transfers/batch-links.ts'
import { TransferLinks } from '../../../src/server/transfers/transfer-links.ts'

const PARTS = 1_000

it('other work goes on while the links of very many parts are made', async () => {
  const header: Record<string, string> = { chunk_size: '5' }
  for (let part = 1; part <= PARTS; part += 1) header[part] = `https://storage.example/${part}`
  const upload = { href: 'https://hub.example/end', header }
  const object = { oid: 'a'.repeat(64), size: PARTS * 5, actions: { upload } }
  let turns = 0
  const count = (): void => {
    turns += 1
    next = setImmediate(count)
  }
  let next = setImmediate(count)
  const rewritten = await rewriteBatch(
    Buffer.from(JSON.stringify({ transfer: 'multipart', objects: [object] })),
    {
      links: new TransferLinks(randomBytes(32), Date.now),
      policy: { base: new URL('https://hub.example'), allowedHosts: ['storage.example'] },
      bases: { originBase: 'https://hub.example', mirrorBase: 'http://mirror.example' },
      repo: { type: 'model', id: parseRepoId('alice/notes') as RepoId },
      mayStore: () => true,
      onLink: () => undefined,
    },
  )
  clearImmediate(next)
  expect(rewritten?.body.toString().match(/http:\/\/mirror\.example\/-\/lfs\//g)?.length).toBe(PARTS)
  expect(turns).toBeGreaterThanOrEqual(Math.floor(PARTS / 64))
})
