// The chart of the README: four comparisons out of a report, as an SVG in one column that a phone can show. There is one
// for light and one for dark pages, since an SVG in a README does not know the page it is on. Pure.
//
// The panels are chosen in advance, and one of them is a comparison that the mirror loses: see PANELS.

import { BarChart, type BarSeriesOption } from 'echarts/charts'
import {
  GridComponent,
  type GridComponentOption,
  TitleComponent,
  type TitleComponentOption,
} from 'echarts/components'
import { type ComposeOption, init, use } from 'echarts/core'
import { SVGRenderer } from 'echarts/renderers'
import { type Figure, type Group, type Report, ratioToNginx } from './report.ts'
import { median } from './statistics.ts'
import { numberText, valueText } from './text.ts'

use([BarChart, GridComponent, TitleComponent, SVGRenderer])

type Option = ComposeOption<BarSeriesOption | GridComponentOption | TitleComponentOption>

/** The panels in reading order, each a figure of a group. A panel that a report doesn't hold is left out. */
const PANELS = [
  { groupId: 'warm-1', figureId: 'wall', title: 'A large stored file' },
  { groupId: 'small-get', figureId: 'perCore', title: 'Small stored files' },
  { groupId: 'cold-limited', figureId: 'wall', title: 'A large file, not stored' },
  { groupId: 'snapshot-cold', figureId: 'wall', title: 'Many small files, not stored' },
] as const
/** The contestants in order, by names short enough for a phone. */
const SHOWN = { mirror: 'hubmirror', nginx: 'nginx cache', plainFiles: 'nginx files', olah: 'olah' } as const
type Shown = keyof typeof SHOWN

// Pixels. The width is that of a phone, so that the type is not scaled down there.
const WIDTH = 380
const LEFT = 92
const ROOM_FOR_VALUE = 72
const LINE = 16
const BAR = { height: 14, step: 21 }
/** With the space above the bars. */
const TITLE_HEIGHT = 26
const GAP = 22
/** Characters that fit on one line of the smaller type, also where the system's font is a wide one. */
const LINE_LENGTH = 60

const FONT = 'system-ui, -apple-system, Segoe UI, Roboto, sans-serif'

export const THEMES = {
  light: { text: '#1f2328', quiet: '#59636e', mirror: '#0969da', other: '#afb8c1' },
  dark: { text: '#f0f6fc', quiet: '#9198a1', mirror: '#4493f8', other: '#656c76' },
} as const
export type ThemeName = keyof typeof THEMES

interface Panel {
  readonly title: string
  readonly group: Group
  readonly figure: Figure
  /** Below the title. */
  readonly lines: readonly string[]
  readonly names: readonly Shown[]
}

/** The chart, an SVG document of its own. Bars are as long as medians are large; each panel has a scale of its own. */
export function chart(report: Report, themeName: ThemeName): string {
  const panels = panelsOf(report)
  const placed: { readonly panel: Panel; readonly top: number; readonly bars: number }[] = []
  let height = 0
  for (const panel of panels) {
    const bars = height + TITLE_HEIGHT + panel.lines.length * LINE
    placed.push({ panel, top: height, bars })
    height = bars + panel.names.length * BAR.step + GAP
  }
  const theme = THEMES[themeName]
  const option: Option = {
    animation: false,
    textStyle: { fontFamily: FONT },
    title: placed.map(({ panel, top }) => titleOf(panel, top, theme)),
    grid: placed.map(({ panel, bars }) => ({
      left: LEFT,
      width: WIDTH - LEFT - ROOM_FOR_VALUE,
      top: bars,
      height: panel.names.length * BAR.step,
      outerBoundsMode: 'none',
    })),
    xAxis: placed.map(({ panel }, gridIndex) => ({
      gridIndex,
      type: 'value',
      min: 0,
      max: largestOf(panel),
      show: false,
    })),
    yAxis: placed.map(({ panel }, gridIndex) => ({
      gridIndex,
      type: 'category',
      inverse: true,
      data: panel.names.map((name) => SHOWN[name]),
      axisLine: { show: false },
      axisTick: { show: false },
      axisLabel: { color: theme.text, fontSize: 12 },
    })),
    series: placed.map(({ panel }, index) => seriesOf(panel, index, theme)),
  }
  const drawn = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: WIDTH,
    height: Math.max(1, height - GAP),
  })
  drawn.setOption(option)
  const svg = drawn.renderToSVGString()
  drawn.dispose()
  return `${withoutPointerSupport(svg)}\n`
}

/**
 * The library adds class names, styles and data for pointers, which an image in a README has no use for. The names come
 * from a counter, so that with them the same report would give another text each time.
 */
function withoutPointerSupport(svg: string): string {
  return svg
    .replace(/ (?:class|pointer-events|ecmeta_\w+)="[^"]*"/g, '')
    .replace(/<style >[^]*?<\/style>\n/g, '')
}

function panelsOf(report: Report): readonly Panel[] {
  return PANELS.flatMap(({ groupId, figureId, title }) => {
    const group = report.groups.find(({ id }) => id === groupId)
    const figure = group?.figures.find(({ id }) => id === figureId)
    if (group === undefined || figure === undefined) return []
    const lines = [...wrapped(group.title), ...wrapped(verdictOf(figure))]
    const names = (Object.keys(SHOWN) as Shown[]).filter(
      (name) => figure.values[name] !== undefined || group.failures[name] !== undefined,
    )
    return [{ title, group, figure, lines, names }]
  })
}

/** `wall time: 1.23x better than the nginx cache`. Without a ratio it says only which values are good. */
function verdictOf(figure: Figure): string {
  const ratio = ratioToNginx(figure)
  const times = figure.better === 'less' ? 1 / ratio : ratio
  if (!Number.isFinite(times) || times === 0) return `${figure.title}, ${figure.better} is better`
  const verdict = times >= 1 ? `${numberText(times)}x better` : `${numberText(1 / times)}x worse`
  return `${figure.title}: ${verdict} than the nginx cache`
}

function titleOf(panel: Panel, top: number, theme: (typeof THEMES)[ThemeName]): TitleComponentOption {
  return {
    text: panel.title,
    subtext: panel.lines.join('\n'),
    left: 0,
    top,
    padding: 0,
    itemGap: 4,
    textStyle: { color: theme.text, fontSize: 14, fontWeight: 600, lineHeight: 18 },
    subtextStyle: { color: theme.quiet, fontSize: 12, lineHeight: LINE },
  }
}

function seriesOf(panel: Panel, index: number, theme: (typeof THEMES)[ThemeName]): BarSeriesOption {
  const { group, figure, names } = panel
  return {
    type: 'bar',
    xAxisIndex: index,
    yAxisIndex: index,
    silent: true,
    barWidth: BAR.height,
    // A small value beside a large one is still visible.
    barMinHeight: 1,
    label: { show: true, position: 'right', color: theme.text, fontSize: 12 },
    data: names.map((name) => {
      const values = figure.values[name]
      const itemStyle = { color: name === 'mirror' ? theme.mirror : theme.other }
      return values === undefined
        ? {
            value: 0,
            itemStyle: { color: 'transparent' },
            label: { formatter: group.failures[name] ?? '', color: theme.quiet },
          }
        : { value: median(values), itemStyle, label: { formatter: valueText(median(values), figure.unit) } }
    }),
  }
}

/** The end of a panel's scale. Above zero, since a scale needs a length. */
function largestOf({ figure, names }: Panel): number {
  return Math.max(...names.map((name) => median(figure.values[name] ?? [0])), Number.MIN_VALUE)
}

/** Broken where a word ends. */
function wrapped(words: string): readonly string[] {
  const lines: string[] = []
  for (const word of words.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + word.length >= LINE_LENGTH) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}
