// What a mirror has counted, as one short page for people: made of the text of /metrics.

import prettyBytes from 'pretty-bytes'

interface Sample {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

/** The page: a line for each figure that is not 0, with what it means. `metrics` is in Prometheus' text format. */
export function figures(metrics: string): string {
  const samples = parse(metrics)
  const sum = (name: string, labels: Readonly<Record<string, string>> = {}): number =>
    samples
      .filter((sample) => sample.name === `hubmirror_${name}`)
      .filter((sample) => Object.entries(labels).every(([label, value]) => sample.labels[label] === value))
      .reduce((total, sample) => total + sample.value, 0)
  const values = (name: string, label: string): readonly string[] => [
    ...new Set(
      samples.flatMap((sample) => (sample.name === `hubmirror_${name}` ? [sample.labels[label] ?? ''] : [])),
    ),
  ]
  const bytes = (count: number): string => prettyBytes(count, { space: true })
  const byLabel = (name: string, label: string): string =>
    values(name, label)
      .map((value) => [value, sum(name, { [label]: value })] as const)
      .filter(([, count]) => count > 0)
      .sort(([, a], [, b]) => b - a)
      .map(([value, count]) => `${count} ${value}`)
      .join(', ')
  const rows: readonly (readonly [string, string])[] = [
    ['requests answered', `${sum('requests_total')} (${byLabel('requests_total', 'outcome') || 'none'})`],
    ['bytes to clients', bytes(sum('served_bytes_total'))],
    ['bytes from the Hub', bytes(sum('fetched_bytes_total'))],
    [
      'requests to the Hub',
      `${sum('origin_requests_total')} (${byLabel('origin_requests_total', 'kind') || 'none'})`,
    ],
    ['decisions about access', byLabel('access_decisions_total', 'result') || 'none'],
    ['files in the store', `${sum('cache_blobs')}, ${bytes(sum('cache_size_bytes'))}`],
    ['damaged files', `${sum('integrity_failures_total')}`],
  ]
  const width = Math.max(...rows.map(([title]) => title.length))
  return [
    '',
    'What the mirror has counted:',
    '',
    ...rows.map(([title, value]) => `  ${title.padEnd(width)}  ${value}`),
    '',
  ].join('\n')
}

function parse(metrics: string): readonly Sample[] {
  return metrics.split('\n').flatMap((line) => {
    const [, name = '', labels = '', value = ''] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (name === '') return []
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label = '', text = '']) => [label, text])
    return [{ name, labels: Object.fromEntries(pairs) as Record<string, string>, value: Number(value) }]
  })
}
