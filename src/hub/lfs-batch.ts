// What a Git LFS batch wants: that stands in its body only. It is passed on as it came, so that what could be read in
// another way elsewhere counts for unclear.

/**
 * `unclear` is whatever does not say it once, in so many words: servers differ in which of two equal keys they take, in
 * whether `Operation` is the same key, and in what they make of text that is not quite JSON.
 */
export function lfsOperation(body: Buffer): 'download' | 'upload' | 'unclear' {
  const text = body.toString('utf8')
  let batch: unknown
  try {
    batch = JSON.parse(text)
  } catch {
    return 'unclear'
  }
  if (typeof batch !== 'object' || batch === null || !('operation' in batch)) return 'unclear'
  if (keysOf(text).filter((key) => key.toLowerCase() === 'operation').length !== 1) return 'unclear'
  const { operation } = batch
  return operation === 'download' || operation === 'upload' ? operation : 'unclear'
}

/** The keys of the outermost object of a JSON text, doubles included. */
function keysOf(text: string): readonly string[] {
  const keys: string[] = []
  let depth = 0
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"(?:\s*:)?|[{}[\]]/g)) {
    if (token === '{' || token === '[') depth += 1
    else if (token === '}' || token === ']') depth -= 1
    else if (depth === 1 && token.endsWith(':')) keys.push(String(JSON.parse(token.slice(0, -1))))
  }
  return keys
}
