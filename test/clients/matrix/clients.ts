// All rows of the table, in their order.

import type { Client, Column } from './client.ts'
import { OTHER_CLIENTS } from './other-clients.ts'
import { PYTHON_CLIENTS } from './python-clients.ts'

/** Those of which CI plays all columns: one of each family. */
const WHOLE_IN_CI = new Set(['huggingface_hub 2', '@huggingface/hub', 'curl', 'git-lfs'])
/** What CI plays of all others: together with the setup, the table may cost it five minutes. */
const SOME_IN_CI: readonly Column[] = ['public', 'policy', 'offline']

export const CLIENTS: readonly Client[] = [...PYTHON_CLIENTS, ...OTHER_CLIENTS].map((client) =>
  WHOLE_IN_CI.has(client.name) ? client : { inCi: SOME_IN_CI, ...client },
)

/** Rows of clients that are not played, and why. They stand below the others. */
export const UNPLAYED: Readonly<Record<string, string>> = {
  'polars hf://':
    'It goes to huggingface.co, whatever `HF_ENDPOINT` says. Open the file by `HfFileSystem`, as the row “polars by HfFileSystem” does.',
  'LoRAX, router and launcher':
    'They use hf-hub 0.3. No registry has their programs: `lorax-client` only asks a LoRAX server, and downloads nothing.',
  'hf-hub 0.3': 'It has the address of the Hub built in, so no setting leads it to a mirror.',
}
