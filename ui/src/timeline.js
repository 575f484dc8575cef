// When each stage ran, drawn on one axis: where bars stand above each other, stages overlap.
import { html } from "htm/preact";
import { seconds } from "./format.js";

const ROW = 22;
const GAP = 8;

export function Timeline({ stages, state, running }) {
  const known = state.calls.length > 0;
  const first = stages.find((stage) => !stage.for_each)?.id;
  // Before the first piece of the answer nothing is told: only the first stage can be at work.
  const calls = known ? state.calls : running ? [{ stage: first, call: 1, begin: 0, end: null }] : [];
  const end = Math.max(state.ms, 1, ...calls.map((call) => call.end ?? state.ms));
  const lanes = stages.map((stage) => ({ stage, lanes: packed(calls.filter((call) => call.stage === stage.id), end) }));
  let y = 0;
  const rows = lanes.map(({ stage, lanes: each }) => {
    const height = Math.max(1, each.length) * ROW;
    const row = { stage, each, y, height };
    y += height + GAP;
    return row;
  });
  const at = (ms) => `${(100 * Math.min(ms, end)) / end}%`;
  const told = rows.map(({ stage, each }) => `${stage.id}: ${each.flat().length} calls`).join(", ");
  return html`<figure class="timeline">
    <figcaption><h3>When each stage ran</h3><span class="note">${overlap(stages, calls, end)}</span></figcaption>
    <div class="lanes" role="img" aria-label=${`Time line over ${seconds(end / 1000)}. ${told}. ${overlap(stages, calls, end)}`}>
      <div class="lane-names">${rows.map(({ stage, height }) => html`<span style=${{ height: `${height}px`, marginBottom: `${GAP}px` }}>${stage.id}</span>`)}</div>
      <svg width="100%" height=${y + 18} aria-hidden="true">
        ${[0, 0.25, 0.5, 0.75, 1].map((part) => html`<g><line class="tick" x1=${`${part * 100}%`} x2=${`${part * 100}%`} y1="0" y2=${y} /><text class="tick-text" x=${`${part * 100}%`} y=${y + 13} text-anchor=${part === 0 ? "start" : part === 1 ? "end" : "middle"}>${seconds((end * part) / 1000)}</text></g>`)}
        ${rows.map(({ stage, each, y: top }, index) => each.map((lane, number) => lane.map((call) => html`
          <rect class=${`call c${index + 1} ${call.end == null ? "open" : ""}`} x=${at(call.begin)} y=${top + number * ROW} height=${ROW - 4} rx="4" style=${{ width: `max(3px, ${at((call.end ?? end) - call.begin)})` }}><title>${`${stage.id} ${call.call}: ${seconds(call.begin / 1000)} to ${call.end == null ? "…" : seconds(call.end / 1000)}`}</title></rect>`)))}
      </svg>
    </div>
  </figure>`;
}

function packed(calls, end) {
  const lanes = [];
  for (const call of calls) {
    const lane = lanes.find((each) => (each.at(-1).end ?? end) <= call.begin);
    if (lane) lane.push(call);
    else lanes.push([call]);
  }
  return lanes;
}

function overlap(stages, calls, end) {
  const first = calls.find((call) => call.stage === stages[0].id);
  if (!first || stages.length < 2) return "";
  const later = calls.filter((call) => call.stage !== stages[0].id && call.begin < (first.end ?? end));
  if (!later.length) return first.end == null ? `${stages[0].id} runs` : "";
  return `${later.length} ${later.length === 1 ? "call" : "calls"} began while ${stages[0].id} still ran`;
}
