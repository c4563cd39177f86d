// Lines over a logarithmic axis as a self-contained SVG: scales and paths are d3's, the elements are written here. Colours are told apart by
// people who see few (Okabe and Ito), lines also by their ends' names and their dashes.

import { scaleLinear, scaleLog } from "d3-scale";
import { line } from "d3-shape";

export interface PlotLine {
  name: string;
  dashed: boolean;
  /** x is positive. */
  points: { x: number; y: number }[];
}

export interface Plot {
  title: string;
  /** What stands at the axes. */
  x: string;
  y: string;
  /** The ticks of the logarithmic axis, and what is written there. */
  ticks: { x: number; text: string }[];
  lines: PlotLine[];
}

const WIDTH = 720;
const HEIGHT = 360;
const LEFT = 56;
const RIGHT = 168;
const TOP = 40;
const BOTTOM = 48;
const COLORS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7"];
/** Least distance of two names at the ends of lines. */
const NAME_HEIGHT = 16;

/** The plot as the text of an SVG file. */
export function svgOf({ title, x, y, ticks, lines }: Plot): string {
  const all = lines.flatMap(({ points }) => points);
  const across = scaleLog()
    .domain([Math.min(...all.map((point) => point.x)), Math.max(...all.map((point) => point.x))])
    .range([LEFT, WIDTH - RIGHT]);
  const up = scaleLinear()
    .domain([0, Math.max(...all.map((point) => point.y))])
    .nice()
    .range([HEIGHT - BOTTOM, TOP]);
  const path = line<{ x: number; y: number }>()
    .x((point) => across(point.x))
    .y((point) => up(point.y));
  const floor = HEIGHT - BOTTOM;
  const names = namePlaces(lines.map(({ points }) => up(points.at(-1)!.y)));
  const elements = [
    text(WIDTH / 2 - RIGHT / 2 + LEFT / 2, 20, title, 'text-anchor="middle" font-weight="bold"'),
    ...up
      .ticks(6)
      .flatMap((value) => [
        `<line x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${at(up(value))}" y2="${at(up(value))}" stroke="#ddd"/>`,
        text(LEFT - 8, up(value) + 4, String(value), 'text-anchor="end"'),
      ]),
    ...ticks.flatMap((tick) => [
      `<line x1="${at(across(tick.x))}" x2="${at(across(tick.x))}" y1="${floor}" y2="${floor + 5}" stroke="#444"/>`,
      text(across(tick.x), floor + 20, tick.text, 'text-anchor="middle"'),
    ]),
    text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x, 'text-anchor="middle"'),
    text(LEFT - 40, TOP - 14, y, ""),
    ...lines.flatMap(({ name, dashed, points }, index) => {
      const color = COLORS[index % COLORS.length]!;
      const dashes = dashed ? ' stroke-dasharray="6 4"' : "";
      return [
        `<path d="${path(points)}" fill="none" stroke="${color}" stroke-width="2"${dashes}/>`,
        ...points.map(
          (point) => `<circle cx="${at(across(point.x))}" cy="${at(up(point.y))}" r="3" fill="${color}"/>`,
        ),
        text(WIDTH - RIGHT + 10, names[index]! + 4, name, `fill="${color}"`),
      ];
    }),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#222">
<title>${escaped(title)}</title>
<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>
${elements.join("\n")}
</svg>
`;
}

/** The heights of names, from the top down, moved apart where they would cover each other. */
function namePlaces(wanted: readonly number[]): number[] {
  const places = [...wanted];
  const order = places.map((_, index) => index).sort((left, right) => places[left]! - places[right]!);
  for (let rank = 1; rank < order.length; rank++) {
    places[order[rank]!] = Math.max(places[order[rank]!]!, places[order[rank - 1]!]! + NAME_HEIGHT);
  }
  return places;
}

function text(x: number, y: number, content: string, attributes: string): string {
  return `<text x="${at(x)}" y="${at(y)}" ${attributes}>${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function at(value: number): string {
  return value.toFixed(1);
}
