import { expect, it } from 'vitest'
import { bringsObjects, gitRequest, gitTarget } from '../../../src/hub/git.ts'
import { batchObjects } from '../../../src/hub/lfs-batch.ts'
import { parseHubUrl } from '../../../src/hub/route.ts'

it.each([
  ['GET', '/org/name/info/refs?service=git-upload-pack', 'refs', '/org/name'],
  ['GET', '/org/name.git/info/refs?service=git-upload-pack', 'refs', '/org/name'],
  ['POST', '/datasets/org/name.git/git-upload-pack', 'pack', '/datasets/org/name'],
  ['POST', '/gpt2/git-upload-pack', 'pack', '/gpt2'],
])('%s %s is a part of a clone', (method, target, kind, own) => {
  const asked = gitRequest(parseHubUrl(target, '/'), method)
  expect([asked?.kind, asked && gitTarget(asked.repo)]).toEqual([kind, own])
})

it.each([
  ['HEAD', '/org/name/info/refs?service=git-upload-pack'],
  ['GET', '/org/name/info/refs'],
  ['GET', '/org/name/info/refs?service=git-receive-pack'],
  ['POST', '/org/name/git-receive-pack'],
  ['GET', '/org/name/git-upload-pack'],
  ['POST', '/org/name.git/info/lfs/objects/batch'],
  ['GET', '/org/name/resolve/main/info/refs'],
])('%s %s is none', (method, target) => {
  expect(gitRequest(parseHubUrl(target, '/'), method)).toBeUndefined()
})

it.each([
  ['000dpackfile\n', true],
  ['0014acknowledgments\n', true],
  ['0011shallow-info\n', true],
  ['0008NAK\n', true],
  [`0031ACK ${'a'.repeat(40)}\n`, true],
  [`0034shallow ${'a'.repeat(40)}`, true],
  [`003d${'a'.repeat(40)} refs/heads/main\n`, false],
  ['0000', false],
  ['0023ERR upload-pack: not our ref', false],
  ['', false],
])('the answer %j brings objects: %s', (start, does) => {
  expect(bringsObjects(Buffer.from(start))).toBe(does)
})

it('the objects of a batch are read, and a batch that names them in another way has none', () => {
  const oid = 'a'.repeat(64)
  const read = (batch: unknown) => batchObjects(Buffer.from(JSON.stringify(batch)))
  expect(read({ objects: [{ oid, size: 5 }] })).toEqual([{ oid, size: 5 }])
  expect(read({ hash_algo: 'sha256', objects: [] })).toEqual([])
  for (const batch of [
    {},
    { objects: 'none' },
    { objects: [{ oid: 'A'.repeat(64), size: 5 }] },
    { objects: [{ oid, size: -1 }] },
    { objects: [{ oid, size: 1.5 }] },
    { objects: [{ oid, size: 5 }, null] },
    { hash_algo: 'sha512', objects: [{ oid, size: 5 }] },
  ])
    expect(read(batch)).toBeUndefined()
})
