// Runs one script again and again in this process, so that its packages are loaded once.
// usage: many.mjs SCRIPT
// in:  a JSON line with the arguments
// out: a JSON line {"status", "said", "waits": []}

import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'
import { format } from 'node:util'

const script = process.argv[2]
let said = ''
const say = (...words) => {
  said += `${format(...words)}\n`
}
Object.assign(console, { log: say, error: say, warn: say })
let runs = 0
for await (const line of createInterface({ input: process.stdin })) {
  process.argv = [process.execPath, script, ...JSON.parse(line)]
  runs += 1
  try {
    // Each query makes a module of its own.
    await import(`${pathToFileURL(script)}?${runs}`)
  } catch (error) {
    console.error(error)
    process.exitCode = 1
  }
  process.stdout.write(`${JSON.stringify({ status: process.exitCode ?? 0, said, waits: [] })}\n`)
  process.exitCode = undefined
  said = ''
}
