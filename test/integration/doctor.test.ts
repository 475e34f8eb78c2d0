// The file of the doctor that the mirror serves, and the usage of the command. What both find is played with real servers
// in test/clients/doctor.test.ts.

import { expect, it } from 'vitest'
import { TOKENS } from '../support/mirror-world.ts'
import { run } from '../support/run-cli.ts'
import { openScene } from '../support/scene.ts'

it('serves the Python form, with the address of the caller and nothing else of it', async () => {
  const scene = await openScene()
  const reply = await scene.ask('/-/doctor.py', { headers: { authorization: `Bearer ${TOKENS.alice}` } })
  expect(reply.status).toBe(200)
  expect(reply.headers['content-type']).toBe('text/x-python; charset=utf-8')
  const text = reply.body.toString()
  expect(text).toContain(`SERVED_FROM = "${scene.mirror.url}"`)
  expect(text).not.toContain(TOKENS.alice)
  expect(text).not.toMatch(/[^\n\x20-\x7e]|"@[A-Z_]+@"/)
})

it('ends with 2 for an endpoint that is no address, and names no token', async () => {
  const { status, stderr } = await run(['doctor', '--endpoint', 'mirror:8080', '--token', TOKENS.alice])
  expect(status).toBe(2)
  expect(stderr).toContain('the endpoint must be an address such as http://mirror:8080.')
  expect(stderr).not.toContain(TOKENS.alice)
})
