// Names of files by which clients of the registry ask, and what its manifests name.

import { describe, expect, it } from 'vitest'
import { blobsIn, tagsFor } from '../../../src/hub/registry.ts'

const DIGEST = 'a'.repeat(64)

describe('the tags by which clients ask for GGUF files', () => {
  it.each<readonly [string, readonly string[]]>([
    ['tiny-Q4_K_M.gguf', ['Q4_K_M']],
    ['Llama-3.2-1B-Instruct-IQ3_XXS.gguf', ['IQ3_XXS']],
    ['gemma.q8_0.gguf', ['q8_0']],
    ['UD-Q4_K_XL/model-UD-Q4_K_XL-00001-of-00003.gguf', ['UD-Q4_K_XL']],
    ['model-BF16.gguf', ['BF16']],
    ['model-fp16.gguf', ['fp16']],
    ['gpt-oss-MXFP4.gguf', ['MXFP4']],
    ['Q4-in-front-of-Q5_0.gguf', ['Q5_0']],
    ['model.gguf', []],
    ['mmproj-model.gguf', []],
  ])('of %s are %j and latest', (path, tags) => {
    expect(tagsFor([path])).toEqual(['latest', ...tags])
  })

  it('are none without such a file, each once, and 64 at most', () => {
    expect(tagsFor(['model.safetensors', 'Q4_K_M.txt'])).toEqual([])
    expect(tagsFor(['a-Q4_0-00001-of-00002.gguf', 'a-Q4_0-00002-of-00002.gguf'])).toEqual(['latest', 'Q4_0'])
    const many = Array.from({ length: 100 }, (_, index) => `a-Q4_${index}.gguf`)
    expect(tagsFor(many).length).toBe(64)
  })
})

describe('the blobs that a manifest names', () => {
  it('are those with a digest and a size, and all else is ignored', () => {
    const layers = [{ digest: `sha256:${DIGEST}`, size: 5 }, { digest: 'sha256:x', size: 1 }, null, 7]
    const config = { digest: `sha256:${'b'.repeat(64)}`, size: 0 }
    expect([...blobsIn(JSON.stringify({ config, layers }))]).toEqual([
      ['b'.repeat(64), 0],
      [DIGEST, 5],
    ])
    for (const size of [-1, 0.5, '5', 1e15, null])
      expect(blobsIn(JSON.stringify({ config: { ...config, size } })).size).toBe(0)
    for (const text of ['', 'null', '[]', '{"layers":{}}', '<html>']) expect(blobsIn(text).size).toBe(0)
  })
})
