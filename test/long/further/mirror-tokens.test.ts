// No mirror token leaves the mirror, whatever a client does with it.

import { describe, expect, it } from 'vitest'
import { createMirrorToken } from '../../../src/callers/mirror-token.ts'
import type { Question } from '../../support/ask.ts'
import {
  basic,
  COMPANY_TOKEN,
  credentials,
  LARGE,
  OPEN,
  openCompany,
  SECRET,
} from '../../support/company-world.ts'

describe('a mirror token', () => {
  it('of any kind, in any form on any route, is in no request that the mirror sends', async () => {
    const { scene, issue, now } = await openCompany()
    const tokens = [
      await issue(),
      await issue('guest'),
      await issue('old', { expiresAt: now() }),
      await issue('gone', { revokedAt: now() }),
      await issue('narrow', { repos: ['acme/open'] }),
      createMirrorToken(),
      createMirrorToken().slice(0, -3),
      'hf_mirror',
    ]
    const questions: readonly (readonly [string, Question])[] = [
      [OPEN, {}],
      [OPEN, { method: 'HEAD' }],
      [SECRET, {}],
      [LARGE, { headers: { range: 'bytes=0-9' } }],
      ['/api/models/acme/secret', {}],
      ['/api/models/acme/secret/tree/main?recursive=true', {}],
      ['/api/models/acme/secret/paths-info/main', { method: 'POST', body: '{"paths":["config.json"]}' }],
      ['/api/models?search=acme', {}],
      ['/api/whoami-v2', {}],
      ['/api/models/acme/secret/xet-read-token/main', {}],
      ['/api/models/acme/secret/xet-write-token/main', {}],
      ['/api/models/acme/secret/auth-check', {}],
      ['/api/models/acme/secret/commit/main', { method: 'POST', body: '{}' }],
      ['/api/models/acme/secret', { method: 'DELETE' }],
      ['/acme/secret/raw/main/config.json', {}],
      ['/acme/secret.git/info/refs?service=git-upload-pack', {}],
      ['/acme/secret.git/info/refs?service=git-receive-pack', {}],
      ['/acme/secret.git/git-upload-pack', { method: 'POST', body: '0000' }],
      [
        '/acme/secret.git/info/lfs/objects/batch',
        { method: 'POST', body: '{"operation":"download","objects":[]}' },
      ],
      [
        '/acme/secret.git/info/lfs/objects/batch',
        { method: 'POST', body: '{"operation":"upload","objects":[]}' },
      ],
      ['/settings/tokens', {}],
    ]
    for (const token of tokens) {
      const fields = [
        `Bearer ${token}`,
        `bearer  ${token} `,
        basic('me', token),
        basic(token, ''),
        `Bearer Bearer ${token}`,
      ]
      for (const authorization of fields) {
        for (const [target, question] of questions) {
          const headers = { ...question.headers, authorization }
          await scene.ask(target, { ...question, headers })
        }
      }
    }
    // Closing the scene looks for tokens of the form; here for every credential that is not one of the two expected.
    const allowed = [undefined, `Bearer ${COMPANY_TOKEN}`, basic('hubmirror', COMPANY_TOKEN)]
    expect([...credentials(scene)].filter((field) => !allowed.includes(field))).toEqual([])
    expect(credentials(scene).has(basic('hubmirror', COMPANY_TOKEN))).toBe(true)
  })
})
