// Removes many facts: some in one commit of the table, and the next ones after that.

import type { FactKind, Facts } from '../../store/store.ts'

/** Facts that are removed in one commit or a few. */
const AT_ONCE = 1_000

/** Removes the facts that have these keys. Resolves to their number. Rejects with the error of the disk, and with that of `keys`. */
export async function removeFacts(
  facts: Pick<Facts, 'remove'>,
  kind: FactKind,
  keys: AsyncIterable<string>,
): Promise<number> {
  let count = 0
  let batch: string[] = []
  // Not begun before it is awaited: a removal that fails meanwhile would be an error that is not handled.
  const remove = async (): Promise<void> => {
    await Promise.all(batch.map((key) => facts.remove(kind, key)))
    count += batch.length
    batch = []
  }
  for await (const key of keys) if (batch.push(key) >= AT_ONCE) await remove()
  await remove()
  return count
}
