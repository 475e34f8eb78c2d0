// The rows of clients that are not written in Python: JavaScript, command line tools, git, and the requests of programs
// that are not to be had here.

import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeClients, rustClients } from '../support/tools.ts'
import { type Ask, type Client, type Command, SETUP } from './client.ts'
import { scriptOf } from './scripts.ts'

const BY_ALL = 'Not installed where this was written: `test/clients/setup.sh --all` installs it.'
const READS_ONLY = 'It has no uploads.'
const ONLY_DOWNLOADS = 'Only its downloads are played.'
const NO_RESUME = 'It keeps nothing of a download that was killed, and starts again.'
const NO_REASON = 'It prints the status code of the refusal, and not the reason.'
const STAY = /Models of this kind stay at home/

function javascript(way: string, ask: Ask): Command {
  return {
    command: process.execPath,
    args: [scriptOf('read.mjs'), way, ask.endpoint, ask.repo, ...(ask.file === undefined ? [] : [ask.file])],
    cwd: nodeClients,
    env: environment(ask),
  }
}

function environment({ token, revision }: Ask): Record<string, string> {
  return {
    ...(token === undefined ? {} : { HF_TOKEN: token }),
    ...(revision === undefined ? {} : { REVISION: revision }),
  }
}

function packageVersion(name: string): Command {
  const code = `console.log(JSON.parse(require('fs').readFileSync('node_modules/${name}/package.json')).version)`
  return { command: process.execPath, args: ['-e', code], cwd: nodeClients }
}

const HUB_JS: Client = {
  name: '@huggingface/hub',
  takesRevision: true,
  repoType: 'models',
  needs: [join(nodeClients, 'node_modules/@huggingface/hub')],
  absent: SETUP,
  version: packageVersion('@huggingface/hub'),
  files: ['config.json', 'model.safetensors'],
  gated: /statusCode: 401/,
  policy: STAY,
  read: (ask) => javascript('snapshot', ask),
  upload: (ask) => javascript('upload', ask),
  cannot: { resume: NO_RESUME },
}

const TRANSFORMERS_JS: Client = {
  name: 'transformers.js in Node',
  takesRevision: true,
  repoType: 'models',
  needs: [join(nodeClients, 'node_modules/@huggingface/transformers')],
  absent: SETUP,
  version: packageVersion('@huggingface/transformers'),
  files: ['config.json', 'tokenizer.json', 'tokenizer_config.json'],
  prints: ['{"type":"bert","tokens":4}'],
  gated: /Unauthorized access to file/,
  policy: /Forbidden access to file/,
  read: (ask) => javascript('transformers', ask),
  isAnonymous: true,
  cannot: {
    private: 'It sends a token only to huggingface.co, so it reads no private repos through a mirror.',
    resume: NO_RESUME,
    upload: READS_ONLY,
  },
  notes: { policy: 'It prints “Forbidden access to file”, and not the reason.' },
}

const BROWSER = 'chromium'

const IN_CHROMIUM: Client = {
  ...TRANSFORMERS_JS,
  name: 'transformers.js in Chromium',
  needs: [BROWSER, join(nodeClients, 'node_modules/@huggingface/transformers')],
  absent: BY_ALL,
  isOptional: true,
  files: [],
  read: (ask) => ({
    command: process.execPath,
    args: [scriptOf('browser.mjs'), BROWSER, ask.endpoint, ask.repo],
    cwd: nodeClients,
  }),
  notes: {
    ...TRANSFORMERS_JS.notes,
    public: 'On a web page of another origin: the mirror sends the CORS header fields that the Hub sends.',
  },
}

/** A tool that fetches one file; `fetch` is a shell program with $url, $file and $token. */
function tool(
  name: string,
  options: { fetch: string; gated: RegExp; policy: RegExp; note?: string },
): Client {
  const get = (ask: Ask, file: string): Command => ({
    command: 'sh',
    args: ['-c', `${options.fetch}\nsha256sum "$file"`],
    env: {
      url: `${ask.endpoint}/${ask.repo}/resolve/${ask.revision ?? 'main'}/${file}`,
      file,
      token: ask.token ?? '',
    },
  })
  return {
    name,
    takesRevision: true,
    repoType: 'models',
    needs: [name === 'aria2' ? 'aria2c' : name],
    absent: SETUP,
    version: { command: 'sh', args: ['-c', `${name === 'aria2' ? 'aria2c' : name} --version | head -n 1`] },
    files: ['model.safetensors'],
    gated: options.gated,
    policy: options.policy,
    read: (ask) => get(ask, 'model.safetensors'),
    pull: (ask) => get(ask, 'large.bin'),
    cannot: { upload: ONLY_DOWNLOADS },
    ...(options.note === undefined ? {} : { notes: { policy: options.note } }),
  }
}

const TOOLS: readonly Client[] = [
  tool('curl', {
    // Nothing can be resumed of an answer that refuses, so the reason is asked for again.
    fetch: `curl -fsS -C - \${token:+-H "Authorization: Bearer $token"} -o "$file" "$url" ||
      { curl -sS \${token:+-H "Authorization: Bearer $token"} "$url"; exit 1; }`,
    gated: /Access to model acme\/gated is restricted/,
    policy: STAY,
    note: 'The reason is the body of the answer, which curl prints only without `--fail`.',
  }),
  tool('wget', {
    fetch: `wget -q -c \${token:+--header="Authorization: Bearer $token"} -O "$file" "$url" ||
      { wget -nv --content-on-error -O - "$url"; exit 1; }`,
    gated: /Authentication Failed/,
    policy: STAY,
    note: 'The reason is the body of the answer, which wget prints only with `--content-on-error`.',
  }),
  tool('aria2', {
    fetch: `aria2c -q -c -x8 -s8 -k1M --file-allocation=none --auto-save-interval=1 \\
      --log=- --log-level=error \${token:+--header="Authorization: Bearer $token"} -o "$file" "$url" || exit 1`,
    gated: /status=401|errorCode=24/,
    policy: /status=403/,
    note: NO_REASON,
  }),
]

function clone(way: string, ask: Ask): Command {
  const user = ask.token === undefined ? '' : `user:${ask.token}@`
  const address = `${ask.endpoint.replace('//', `//${user}`)}/${ask.repo}`
  return {
    command: 'sh',
    args: [scriptOf('clone.sh'), way, address, ...(ask.file === undefined ? [] : [ask.file])],
  }
}

const GIT: Client = {
  name: 'git',
  repoType: 'models',
  needs: ['git'],
  absent: SETUP,
  version: { command: 'git', args: ['--version'] },
  files: ['config.json', 'tokenizer.json'],
  gated: /could not read Username/,
  policy: STAY,
  read: (ask) => clone('git', ask),
  clones: true,
  cannot: {
    resume: 'It keeps nothing of a clone that was killed, and starts again.',
    upload: 'Large files are pushed by git-lfs: see the next row.',
  },
  notes: {
    'origin killed':
      'The first clone of a repo passes through, and fails if the Hub goes away. A repo that was cloned before is cloned again while the Hub is away.',
  },
}

const GIT_LFS: Client = {
  ...GIT,
  name: 'git-lfs',
  needs: ['git', 'git-lfs'],
  version: { command: 'git-lfs', args: ['version'] },
  files: ['config.json', 'model.safetensors'],
  read: (ask) => clone('git-lfs', ask),
  pull: (ask) => clone('pull', ask),
  upload: (ask) => clone('push', ask),
  cannot: {},
}

const CRATES = fileURLToPath(new URL('../rust/Cargo.toml', import.meta.url))

/** Arguments of `env` that remove the proxies: hf-hub 0.4 ignores NO_PROXY. */
const WITHOUT_PROXY = ['http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'].flatMap((name) => [
  '-u',
  name,
])

/** A generation of the Rust crate; `line` is the name of its dependency. */
function crate(name: string, generation: string, line: string, more: Partial<Client> = {}): Client {
  const command = (way: string, ask: Ask): Command => ({
    command: 'env',
    args: [
      ...WITHOUT_PROXY,
      rustClients,
      generation,
      way,
      ask.repo,
      ...(ask.file === undefined ? [] : [ask.file]),
    ],
    env: { HF_ENDPOINT: ask.endpoint, ...(ask.token === undefined ? {} : { HF_TOKEN: ask.token }) },
  })
  return {
    name,
    repoType: 'models',
    needs: [rustClients],
    absent: BY_ALL,
    isOptional: true,
    version: { command: 'sed', args: ['-n', `s/^${line} .*"=\\([0-9.]*\\)".*/\\1/p`, CRATES] },
    files: ['config.json', 'model.safetensors'],
    gated: /status code 401|status: 401|StatusCode\(401\)|Access to model acme\/gated is restricted/,
    policy: /status code 403|status: 403|StatusCode\(403\)/,
    read: (ask) => command('snapshot', ask),
    pull: (ask) => command('large', ask),
    cannot: { upload: READS_ONLY },
    notes: { policy: NO_REASON },
    ...more,
  }
}

/** A program whose requests are played; `asOf` says which ones. */
function replayed(name: string, way: string, files: readonly string[], asOf: string): Client {
  return {
    name,
    repoType: 'models',
    needs: [process.execPath],
    absent: '',
    version: { command: process.execPath, args: ['--version'] },
    files,
    gated: /: 401/,
    policy: STAY,
    read: (ask) => ({
      command: process.execPath,
      args: [scriptOf('replay.mjs'), way, ask.endpoint, ask.repo],
      env: environment(ask),
    }),
    isReplayed: true,
    cannot: {
      resume: 'A script that sends the requests keeps no files that could be resumed.',
      upload: READS_ONLY,
    },
    notes: { public: asOf },
  }
}

const GGUF = ['tiny-Q4_K_M.gguf']
const OLLAMA = replayed(
  'Ollama',
  'ollama',
  GGUF,
  'The Go module of 0.17.4 compiles llama.cpp with it, which did not end within six minutes here. These are the requests of its `images.go` and `download.go`.',
)

export const OTHER_CLIENTS: readonly Client[] = [
  HUB_JS,
  TRANSFORMERS_JS,
  IN_CHROMIUM,
  ...TOOLS,
  GIT,
  GIT_LFS,
  crate('hf-hub 0.4', '0.4', 'hub_0_4', { hasOwnAuthorities: true }),
  crate('hf-hub 0.5', '0.5', 'hub_0_5', { hasOwnAuthorities: true }),
  crate('hf-hub 1', '1', 'hub_1', {
    policy: STAY,
    notes: {},
    cannot: { upload: 'It uploads large files by Xet only, which cannot go through the mirror.' },
  }),
  replayed(
    'llama.cpp',
    'llama.cpp',
    GGUF,
    'PyPI and Debian 12 have its source only, which was not compiled. These are the requests of its `hf-cache.cpp` and `download.cpp`.',
  ),
  replayed(
    'llama.cpp, older',
    'llama.cpp-manifest',
    GGUF,
    'The requests of versions before 2026, which begin with a manifest.',
  ),
  {
    ...OLLAMA,
    isAnonymous: true,
    cannot: {
      ...OLLAMA.cannot,
      private: 'It signs in with a key of its own, which an account of the Hub must know.',
      prefix: 'The name of a model begins with the host of the mirror, and has no place for a prefix.',
    },
  },
  replayed(
    'TEI',
    'tei',
    ['config.json', 'model.safetensors'],
    'No registry has its program. These are the requests of its `core/src/download.rs`, as hf-hub 0.4 sends them.',
  ),
  replayed(
    'TGI, launcher and router',
    'tgi-router',
    ['config.json', 'tokenizer.json'],
    'No registry has its programs. These are the requests of `launcher/src/main.rs` and `router/src/server.rs`, as hf-hub 0.4 sends them.',
  ),
]
