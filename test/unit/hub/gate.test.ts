import { describe, expect, it } from 'vitest'
import { mayBeOutsideGate } from '../../../src/hub/gate.ts'
import { parseRepoId } from '../../../src/hub/names.ts'
import { resolveTarget } from '../../../src/hub/route.ts'

describe('mayBeOutsideGate', () => {
  const OUTSIDE = [
    'README.md',
    'README',
    'readme.MD',
    'Readme.rst',
    '.gitattributes',
    '.GITATTRIBUTES',
    'docs/README.md',
    'a/b/c/readme.txt',
    'weights/.gitattributes',
    'README.md/README.md',
  ]
  const INSIDE = [
    '',
    'config.json',
    'model.safetensors',
    'README.md/config.json',
    '.gitattributes/w.bin',
    'README.md.safetensors',
    'README.md ',
    'README.md\n',
    'xREADME.md',
    'my-readme.md',
    'README-w.bin',
    'README.',
    'gitattributes',
    'x.gitattributes',
    '.gitignore',
    'docs\\README.md',
    'README%2Emd',
    'ＲEADME.md',
  ]

  it.each(OUTSIDE)('says that %j may be shown to every caller', (path) => {
    expect(mayBeOutsideGate(path)).toBe(true)
  })

  it.each(INSIDE)('says that %j is behind the gate', (path) => {
    expect(mayBeOutsideGate(path)).toBe(false)
  })

  it('judges a target as it judges the path that the target ends with', () => {
    const id = parseRepoId('acme/gated')
    if (id === undefined) throw new Error('no repo id')
    const paths = [...OUTSIDE, ...INSIDE].filter((path) => /^[^\n\\]+$/.test(path))
    for (const path of paths) {
      const target = resolveTarget({ type: 'model', id }, 'README.md', path)
      expect(mayBeOutsideGate(target), path).toBe(mayBeOutsideGate(path))
    }
  })
})
