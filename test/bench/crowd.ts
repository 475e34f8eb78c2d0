// Run as a process of its own: N clients fetch one URL at once. Prints the distinct sha256 of what they got, and how
// often each came.

import { createHash } from 'node:crypto'
import { Agent, request } from 'undici'

const [url = '', count = '1'] = process.argv.slice(2)
const dispatcher = new Agent({ connections: Number(count), bodyTimeout: 0, headersTimeout: 0 })
const sums = await Promise.all(
  Array.from({ length: Number(count) }, async () => {
    const { body, statusCode } = await request(url, { dispatcher })
    if (statusCode !== 200) return `status ${statusCode}`
    const hash = createHash('sha256')
    for await (const chunk of body) hash.update(chunk as Buffer)
    return hash.digest('hex')
  }),
)
const counts = new Map<string, number>()
for (const sum of sums) counts.set(sum, (counts.get(sum) ?? 0) + 1)
for (const [sum, times] of counts) console.log(`${times} ${sum}`)
await dispatcher.close()
