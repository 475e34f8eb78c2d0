// The Hub's own answers, as the right ones for a mirror that cannot ask it.

import { ask, type Question, type Reply } from './ask.ts'

/** An answer of the Hub as the mirror gives it on: without Xet. */
function withoutXet(reply: Reply): unknown {
  if (reply.headers['content-type']?.startsWith('application/json') !== true) return reply.body.toString()
  return JSON.parse(reply.body.toString(), (key, value: unknown) =>
    key === 'xetHash' ? undefined : key === 'xetEnabled' ? false : value,
  )
}

/** The Hub's own answer, also under an old name, where it redirects. */
export async function asHub(hubUrl: string, target: string, question?: Question): Promise<Reply> {
  const reply = await ask(hubUrl, target, question)
  const { location } = reply.headers
  return reply.status === 307 && location !== undefined ? asHub(hubUrl, location, question) : reply
}

/** What a client reads of an answer about a repo. */
export function essence(reply: Reply) {
  const { status, headers } = reply
  return {
    status,
    body: withoutXet(reply),
    type: headers['content-type'],
    code: headers['x-error-code'],
    message: headers['x-error-message'],
    commit: headers['x-repo-commit'],
  }
}
