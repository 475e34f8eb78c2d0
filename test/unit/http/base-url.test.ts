import { expect, it } from 'vitest'
import { withoutTrailingSlash } from '../../../src/http/base-url.ts'

it.each([
  ['https://huggingface.co/', 'https://huggingface.co'],
  ['https://host/hugging-face/', 'https://host/hugging-face'],
  ['https://host/hugging-face', 'https://host/hugging-face'],
  ['https://host/a//', 'https://host/a'],
  ['/', ''],
  ['//', ''],
  ['', ''],
  ['/a/b/', '/a/b'],
  ['/a//b', '/a//b'],
])('%j becomes the base %j', (text, base) => {
  expect(withoutTrailingSlash(text)).toBe(base)
})
