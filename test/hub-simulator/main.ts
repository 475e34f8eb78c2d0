// Runs the simulator by hand with the demo world: `npm run hub -- --port 8090`. Ends on Ctrl-C.
// Knows of no mirror.

import { parseArgs } from 'node:util'
import { DEMO_TOKENS, demoWorld } from './demo-world.ts'
import { startHub } from './server.ts'

const USAGE = `usage: npm run hub -- [--port 8090] [--cdn-port 8091] [--cdn-host 127.0.0.2] [--no-xet]
                      [--page-size 1000] [--signed-url-seconds 3600] [--bytes-per-second N]`

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '8090' },
    'cdn-port': { type: 'string', default: '0' },
    'cdn-host': { type: 'string', default: '127.0.0.2' },
    'no-xet': { type: 'boolean', default: false },
    'page-size': { type: 'string', default: '1000' },
    'signed-url-seconds': { type: 'string', default: '3600' },
    'bytes-per-second': { type: 'string' },
    help: { type: 'boolean', default: false },
  },
})

if (values.help) {
  console.log(USAGE)
} else {
  const rate = values['bytes-per-second']
  const hub = await startHub({
    world: demoWorld(),
    port: Number(values.port),
    cdnPort: Number(values['cdn-port']),
    cdnHost: values['cdn-host'],
    xet: !values['no-xet'],
    pageSize: Number(values['page-size']),
    signedUrlSeconds: Number(values['signed-url-seconds']),
    ...(rate === undefined ? {} : { bytesPerSecondPerConnection: Number(rate) }),
  })
  console.log(`hub  ${hub.url}`)
  console.log(`cdn  ${hub.cdnUrl}`)
  console.log(`alice ${DEMO_TOKENS.alice}`)
  console.log(`bob   ${DEMO_TOKENS.bob}`)
  const end = () => {
    // A failure to close has no receiver left.
    void hub.close()
  }
  process.once('SIGINT', end)
  process.once('SIGTERM', end)
}
