// What the other tables do not show: a server or a client for each further finding of the doctor.

import { chmod, mkdir, writeFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect } from 'vitest'
import { ask } from '../../../support/ask.ts'
import { TOKENS } from '../../../support/mirror-world.ts'
import { policiesOf } from '../../../support/policies.ts'
import { run } from '../../../support/run-cli.ts'
import type { Scene } from '../../../support/scene.ts'
import type { Row } from './play.ts'
import { type Change, changing, dropping, serve, urlOf } from './servers.ts'

type Finds = NonNullable<Row['finds']>
const OPEN = 'acme/open'

/** A mirror whose answers lack something, or say something else. */
export async function answerRows(scene: Scene): Promise<readonly Row[]> {
  const { hub, mirror } = scene
  const changed = async (
    name: string,
    finds: Finds,
    first: string,
    change: (request: IncomingMessage) => Change | undefined | false,
  ): Promise<Row> => {
    const url = await changing(mirror.url, change)
    return { name, url, first, env: {}, args: ['--repo', OPEN], finds }
  }
  const isHead = ({ method, url = '' }: IncomingMessage): boolean =>
    method === 'HEAD' && url.includes('/resolve/')
  const xet =
    (answer: (request: IncomingMessage) => NonNullable<Change['instead']>) =>
    (request: IncomingMessage): Change | undefined => {
      if (request.url?.includes('/xet-read-token/') === true) return { instead: answer(request) }
      return isHead(request)
        ? { headers: { 'x-xet-hash': 'a'.repeat(64), link: '<https://xet.invalid>; rel="xet-auth"' } }
        : undefined
    }
  const casAt = (url: string) => ({ status: 200, body: { casUrl: url, exp: 1, accessToken: 'xet' } })
  const denying = await scene.another({
    config: {
      policies: policiesOf(`- name: no-models\n  action: deny\n  match: {repo: '${OPEN}'}\n`),
    },
  })
  const offline = { config: { offline: true } }
  const filler = await scene.another()
  const info = `/api/models/${OPEN}`
  for (const target of [info, `${info}/tree/main?recursive=true`, `/${OPEN}/resolve/main/w.bin`])
    expect((await ask(filler.url, target)).status).toBe(200)
  await filler.close({ keepDir: true })
  const filled = await scene.another({ ...offline, cacheDir: filler.cacheDir })
  const finds: Finds = { 'endpoint-hub-away': 'offline by configuration' }
  const isAway = {
    url: (await scene.another(offline)).url,
    first: '',
    env: {},
    args: ['--repo', OPEN],
    finds,
  }
  const absent = {
    first: 'repo-access',
    finds: { ...finds, 'repo-absent': 'has stored no public content of this repo' },
  }
  const hourAgo = new Date(Date.now() - 3_600_000).toUTCString()
  return [
    await changed(
      'no X-Repo-Commit',
      { 'headers-commit': '' },
      'headers',
      (request) => isHead(request) && { headers: { 'x-repo-commit': undefined } },
    ),
    await changed(
      'no ETag',
      { 'headers-etag': '' },
      'headers',
      (request) => isHead(request) && { headers: { etag: undefined, 'x-linked-etag': undefined } },
    ),
    await changed(
      'the length of a redirect',
      { 'headers-length': 'the length 12, and the file has 3000000 bytes' },
      'headers',
      (request) => isHead(request) && { headers: { 'content-length': '12', 'x-linked-size': undefined } },
    ),
    await changed(
      'no length',
      { 'headers-length': 'the length (none)' },
      'headers',
      (request) =>
        isHead(request) && { headers: { 'content-length': undefined, 'x-linked-size': undefined } },
    ),
    await changed(
      'HEAD that fails',
      { 'headers-failed': 'answered with 500' },
      'headers',
      (request) => isHead(request) && { instead: { status: 500, body: {} } },
    ),
    await changed(
      'compressed files',
      { 'encoding-compressed': '(gzip)' },
      '',
      ({ headers }) =>
        headers['accept-encoding'] !== 'identity' && { headers: { 'content-encoding': 'gzip' } },
    ),
    await changed('no ranges', { 'range-ignored': 'with 200, Content-Range (none)' }, 'range', () => ({
      drops: ['range'],
    })),
    await changed('no conditions', { 'conditional-ignored': 'with 200' }, '', () => ({
      drops: ['if-none-match'],
    })),
    await changed('no CORS', { 'cors-missing': '' }, '', () => ({
      headers: { 'access-control-allow-origin': undefined },
    })),
    await changed('a clock that is an hour late', { 'clock-off': ' 36' }, '', () => ({
      headers: { date: hourAgo },
    })),
    await changed(
      'Xet at another host',
      { 'xet-away': new URL(hub.url).host },
      '',
      xet(() => casAt(hub.url)),
    ),
    await changed(
      'Xet through the mirror',
      { 'xet-here': '' },
      '',
      xet(({ headers }) => casAt(`http://${headers.host}`)),
    ),
    await changed(
      'Xet without its token',
      { 'xet-broken': 'xet-read-token is answered with 404' },
      'xet',
      xet(() => ({ status: 404, body: {} })),
    ),
    await changed(
      'a repo that fails',
      { 'repo-error': '500' },
      '',
      ({ url = '' }) => url.startsWith('/api/models/acme') && { instead: { status: 500, body: {} } },
    ),
    {
      ...(await changed(
        'a Hub that checks no tokens now',
        { 'token-quota': '429', 'token-forwarded-ok': '' },
        '',
        ({ url = '', headers }) =>
          url.startsWith('/api/whoami') &&
          headers.authorization !== undefined && { instead: { status: 429, body: { error: 'too many' } } },
      )),
      env: { HF_TOKEN: TOKENS.alice },
    },
    {
      name: 'a rule of the mirror',
      url: denying.url,
      first: 'repo-access',
      env: {},
      args: ['--repo', OPEN],
      finds: { 'repo-refused': 'no-models' },
    },
    { ...isAway, name: 'an offline mirror', args: [] },
    { ...isAway, name: '… that has the repo', url: filled.url },
    { ...isAway, name: '… that does not have it', ...absent },
    { ...isAway, name: '… and there is a token', ...absent, env: { HF_TOKEN: TOKENS.alice } },
    {
      name: 'a mirror without the usual repo',
      url: mirror.url,
      first: '',
      env: {},
      args: [],
      finds: { 'repo-none': 'openai-community/gpt2' },
    },
  ]
}

/** Servers where there is no mirror that answers. */
export async function frontRows({ mirror }: Scene): Promise<readonly Row[]> {
  const row = (name: string, url: string, finds: Finds, first = 'endpoint'): Row => ({
    name,
    url,
    first,
    env: { HF_TOKEN: TOKENS.alice },
    args: ['--repo', OPEN],
    finds,
  })
  const page = (status: number, headers: Change['headers'] = {}) =>
    changing(mirror.url, () => ({ instead: { status, body: '<h1>No</h1>' }, headers }))
  const foreign = createServer((socket) => socket.on('error', () => undefined).end('SSH-2.0-OpenSSH_9.9\r\n'))
  return [
    row('a gateway without a mirror', await page(502), { 'endpoint-gateway': '502' }),
    row('a gateway with a login of its own', await page(401, { 'www-authenticate': 'Basic realm="staff"' }), {
      'endpoint-login': 'Basic realm="staff"',
    }),
    row('a server that breaks off', await serve((_request, response) => response.destroy()), {
      'endpoint-failed': '',
    }),
    row('a server of another protocol', await urlOf(foreign), { 'endpoint-failed': '' }),
    row('a firewall that drops', await dropping(), { 'tcp-timeout': '' }, 'tcp'),
  ]
}

/** A client with another token, or with the same one from another place. */
export async function tokenRows(scene: Scene, folder: string): Promise<readonly Row[]> {
  const { mirror } = scene
  const { alice, bob } = TOKENS
  const row = (
    name: string,
    finds: Finds,
    env: Row['env'],
    args: readonly string[] = [],
    first = '',
  ): Row => {
    const repo = first === '' ? 'acme/secret' : OPEN
    return { name, url: mirror.url, first, env, args: ['--repo', repo, ...args], finds }
  }
  const file = join(folder, 'alice')
  await writeFile(file, `${alice}\n`)
  const home = join(folder, 'logged-in')
  await mkdir(home)
  await writeFile(join(home, 'token'), alice)
  const own = await scene.another()
  const made = await run(['token', 'create', 'laptop'], { HUBMIRROR_CACHE_DIR: own.cacheDir })
  const shapes = [
    ['Bearer', `Bearer ${alice}`, 'it begins with Bearer'],
    ['a line break', `hf_aaaaaaaa\nbbbbbbbb`, 'it holds white space'],
    ['a letter of no token', 'hf_ääääääää', 'it holds characters that no token has'],
  ] as const
  return [
    row('--token', { 'token-here': 'from --token.', 'token-ok': 'of alice' }, { HF_TOKEN: bob }, [
      '--token',
      alice,
    ]),
    row('--token-file', { 'token-here': `from ${file}.`, 'token-ok': 'of alice' }, { HF_TOKEN: bob }, [
      '--token-file',
      file,
    ]),
    row('HF_TOKEN_PATH', { 'token-here': `from ${file}.`, 'token-ok': 'of alice' }, { HF_TOKEN_PATH: file }),
    row(
      'the file of hf auth login',
      { 'token-here': `from ${join(home, 'token')}.`, 'token-ok': 'of alice' },
      { HF_HOME: home },
    ),
    row(
      'the older variable',
      { 'token-here': 'from HUGGING_FACE_HUB_TOKEN.', 'token-ok': 'of alice' },
      { HUGGING_FACE_HUB_TOKEN: alice },
    ),
    {
      ...row(
        'a mirror token',
        { 'token-ok': 'the mirror token of laptop' },
        { HF_TOKEN: made.stdout.trim() },
      ),
      url: own.url,
      args: ['--repo', OPEN],
    },
    row(
      'a token of another form',
      { 'token-shape-odd': '' },
      { HF_TOKEN: 'api_org_0123456789' },
      [],
      'token-valid',
    ),
    ...shapes.map(([name, token, problem]) =>
      row(`a token with ${name}`, { 'token-shape-wrong': problem }, { HF_TOKEN: token }, [], 'token-form'),
    ),
  ]
}

/** What lies on the machine of the client: variables, clients, listings and the disk. */
export async function machineRows(scene: Scene, folder: string): Promise<readonly Row[]> {
  const { mirror } = scene
  const { alice, bob } = TOKENS
  const { url } = mirror
  const row = (
    name: string,
    finds: Finds,
    env: Row['env'],
    args: readonly string[] = [],
    first = '',
  ): Row => {
    return { name, url, first, env, args: ['--repo', OPEN, ...args], finds }
  }
  const differs = (part: string): Finds => ({ 'environment-differs': part })
  const home = join(folder, 'other-login')
  const trees = join(home, 'hub/models--acme--open/trees')
  await mkdir(trees, { recursive: true })
  await writeFile(join(home, 'token'), bob)
  await writeFile(join(trees, `${'a'.repeat(40)}.json`), '{"files":{"w.bin":{"xet_hash":"aa"}}}')
  const packages = async (name: string, versions: Readonly<Record<string, string>>): Promise<string> => {
    const path = join(folder, name)
    for (const [one, version] of Object.entries(versions)) {
      const info = join(path, `${one}-${version}.dist-info`)
      await mkdir(info, { recursive: true })
      await writeFile(join(info, 'METADATA'), `Metadata-Version: 2.1\nName: ${one}\nVersion: ${version}\n`)
    }
    return path
  }
  // A python3 that knows no packages but those of PYTHONPATH.
  const bin = join(folder, 'bin')
  await mkdir(bin)
  await writeFile(join(bin, 'python3'), '#!/bin/sh\nPATH=${PATH#*:}\nexec python3 -S "$@"\n')
  await chmod(join(bin, 'python3'), 0o755)
  const PATH = `${bin}:${process.env['PATH']}`
  const old = await packages('old', { huggingface_hub: '0.33.4', hf_xet: '1.1.5', transformers: '4.53.0' })
  const recent = await packages('recent', { huggingface_hub: '0.34.0', hf_xet: '1.1.5' })
  const plain = await packages('plain', { huggingface_hub: '0.33.4' })
  const other = (await scene.another()).url
  return [
    row('two tokens', differs('HF_TOKEN and HUGGING_FACE_HUB_TOKEN hold different tokens'), {
      HF_TOKEN: alice,
      HUGGING_FACE_HUB_TOKEN: bob,
    }),
    row(
      'a token beside the login',
      {
        ...differs('HF_TOKEN and the file of hf auth login'),
        'trees-xet': `1 listings below ${join(home, 'hub')}`,
      },
      { HF_TOKEN: alice, HF_HOME: home },
    ),
    row('a token that is not sent', differs('HF_HUB_DISABLE_IMPLICIT_TOKEN is set'), {
      HF_TOKEN: alice,
      HF_HUB_DISABLE_IMPLICIT_TOKEN: '1',
    }),
    row('a slash at the end', differs('HF_ENDPOINT ends with a slash'), { HF_ENDPOINT: `${url}/` }),
    row('no HF_ENDPOINT', differs('HF_ENDPOINT is not set'), { HF_ENDPOINT: '' }, ['--endpoint', url]),
    row('another HF_ENDPOINT', differs('HF_ENDPOINT names another server'), { HF_ENDPOINT: other }, [
      '--endpoint',
      url,
    ]),
    ...['TRANSFORMERS_OFFLINE', 'HF_DATASETS_OFFLINE'].map((name) =>
      row(
        `${name} at the client`,
        { 'environment-offline': `${name} is set` },
        { [name]: 'yes' },
        [],
        'environment',
      ),
    ),
    ...['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'CURL_CA_BUNDLE', 'NODE_EXTRA_CA_CERTS'].map((name) =>
      row(
        `${name} without its file`,
        { 'environment-file': `${name} names a file` },
        { [name]: join(folder, 'missing.pem') },
        [],
        'environment',
      ),
    ),
    row(
      'a client that goes to Xet past the endpoint',
      { 'clients-old': 'huggingface_hub 0.33.4 asks' },
      { PATH, PYTHONPATH: old },
    ),
    row(
      'a newer client',
      { 'clients-found': 'huggingface_hub 0.34.0, hf_xet 1.1.5' },
      { PATH, PYTHONPATH: recent },
    ),
    row(
      'an older client without Xet',
      { 'clients-found': 'huggingface_hub 0.33.4' },
      { PATH, PYTHONPATH: plain },
    ),
    row('no client', { 'clients-none': '' }, { PATH }),
    // No file system has less room, and every user may look at this one.
    row('a full disk', { 'disk-full': 'Only 0.0 GB are free at /proc' }, { HF_HOME: '/proc/huggingface' }),
  ]
}
