// uPlot in the page's own colours; it is drawn anew where those change.
import { html } from "htm/preact";
import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

const PALETTE = 6;

// A canvas knows no light-dark(): an element is asked what it makes of it.
function colours(place, names) {
  const probe = place.appendChild(document.createElement("span"));
  const found = names.map((name) => ((probe.style.color = `var(${name})`), getComputedStyle(probe).color));
  probe.remove();
  return found;
}

export function Chart({ title, unit, format, names, data, theme, empty }) {
  const place = useRef(null);
  const plot = useRef(null);
  const shape = `${names.join()} ${theme}`;
  useEffect(() => {
    const frame = place.current;
    const width = () => frame.clientWidth;
    const [muted, line, ...strokes] = colours(frame, ["--muted", "--line", ...names.map((_, at) => `--c${(at % PALETTE) + 1}`)]);
    const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif" };
    const made = new uPlot(
      {
        width: width(),
        height: 150,
        padding: [8, 26, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        scales: { y: { range: (_, __, max) => [0, max > 0 ? max * 1.15 : 1] } },
        axes: [
          { ...axis, space: 70, size: 28, values: (_, ticks) => ticks.map((tick) => new Date(tick * 1000).toLocaleTimeString("en-GB")) },
          { ...axis, size: 56, values: (_, ticks) => ticks.map(format) },
        ],
        series: [{}, ...names.map((name, at) => ({ label: name, width: 1.75, stroke: strokes[at], points: { show: false }, spanGaps: true }))],
      },
      data,
      frame,
    );
    plot.current = made;
    const watcher = new ResizeObserver(() => made.setSize({ width: width(), height: 150 }));
    watcher.observe(frame);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(data), [data]);
  const latest = names.map((name, at) => `${name} ${format(data[at + 1]?.at(-1))}`).join(", ");
  return html`<figure class="chart">
    <figcaption><h3>${title}</h3><span class="note">${unit}</span></figcaption>
    <div class="plot" ref=${place} role="img" aria-label=${`${title}, ${unit}: ${latest || "nothing yet"}`}></div>
    ${empty && html`<p class="chart-empty">${empty}</p>`}
  </figure>`;
}
