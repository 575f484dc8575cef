// At a glance: engines and their memory, what every model does now, and what is on its way in.
import { html } from "htm/preact";
import { useMemo } from "preact/hooks";
import { Chart } from "../chart.js";
import { bytes, count, rate, seconds } from "../format.js";
import { nowRates, recentFirstToken, series } from "../live.js";
import { Badge, Card, Empty, Fact, Notice, Stack } from "../parts.js";
import { Placement } from "./placement.js";

const MOST_LINES = 6;
const MOST_ADAPTERS = 8;

export function Overview({ live, session, theme }) {
  const { now, points } = live;
  return html`<div class="grid">
    ${now.operations.map((one) => html`<${Coming} one=${one} at=${now.at} />`)}
    <${Engines} now=${now} />
    <${Placement} now=${now} session=${session} />
    <${Charts} now=${now} points=${points} theme=${theme} />
    <${Traffic} now=${now} points=${points} />
  </div>`;
}

const Coming = ({ one, at }) => html`<div class="wide"><${Notice} tone="busy" title=${`Adding an adapter to ${one.task}:`}>${one.stage}, ${seconds(at - one.started_at)}<//></div>`;

function Engines({ now }) {
  if (!now.engines.length)
    return html`<${Card} wide id="engines" title="Engines"><${Empty} title="No engine yet">Start the control plane with <code>lora-gateway up</code>.<//><//>`;
  return html`${now.engines.map((engine) => html`<${Engine} engine=${engine} now=${now} alone=${now.engines.length === 1} />`)}`;
}

const WORDS = {
  stopped: "Nobody has asked for it yet, or it was idle. The next request starts it.",
  sleeping: "Its weights wait in main memory. The next request wakes it.",
  draining: "The last requests end before it stops.",
  failed: "It ended. A failed engine is tried again by itself, or with lora-gateway reload.",
};

// One of several that nobody needs now, while others answer.
const SPARE = "It is started when those that run have too much to do.";
const wordsOf = (engine, now) => (engine.state === "stopped" && now.engines.some((one) => one.state === "ready") ? SPARE : WORDS[engine.state]);

function Engine({ engine, now, alone }) {
  const loading = engine.state === "starting";
  const elapsed = loading ? Math.max(0, now.at - engine.started_at) : 0;
  const requests = now.counts.models;
  const flying = Object.values(requests).reduce((sum, one) => sum + (one.in_flight ?? 0), 0);
  const waiting = Object.values(requests).reduce((sum, one) => sum + (one.waiting ?? 0), 0);
  const words = wordsOf(engine, now);
  return html`<${Card} wide=${alone} id=${`engine-${engine.name}`} title=${engine.name} note=${now.base.model || now.base.name} actions=${html`<${Badge} state=${engine.state} />`}>
    ${words && html`<p class="note">${words}</p>`}
    ${engine.reason && engine.state !== "ready" && html`<${Notice} tone="bad" title="Why:">${engine.reason}${engine.next_try_at ? ` Next try in ${seconds(engine.next_try_at - now.at)}.` : ""}<//>`}
    ${loading && html`<${Progress} engine=${engine} elapsed=${elapsed} />`}
    <dl class="facts">
      <${Fact} label="Adapters loaded">${engine.loaded.length}<//>
      <${Fact} label="LoRA slots" title="Adapters that may be in one batch">${engine.slots ?? "–"}<//>
      ${alone && html`<${Fact} label="Running now">${count(flying)}<//><${Fact} label="Waiting">${count(waiting)}<//>`}
      <${Fact} label="Last start">${seconds(engine.load_s)}<//>
      ${engine.restarts != null && html`<${Fact} label="Restarts in a row">${engine.restarts}<//>`}
    </dl>
    <${Memory} engine=${engine} now=${now} />
  <//>`;
}

function Progress({ engine, elapsed }) {
  const expected = engine.load_s;
  const share = expected ? Math.min(0.97, elapsed / expected) : null;
  return html`<div class="loading-bar">
    <div class="bar" role="progressbar" aria-label=${`${engine.name} loads`} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${share == null ? undefined : Math.round(share * 100)}>
      <span class=${`seg c1 ${share == null ? "unknown" : ""}`} style=${{ width: share == null ? "30%" : `${share * 100}%` }}></span>
    </div>
    <p class="note">${engine.stage || "loading"} · ${seconds(elapsed)}${expected ? ` of about ${seconds(expected)}` : ""}</p>
  </div>`;
}

function Memory({ engine, now }) {
  const plan = now.memory;
  if (!plan) return engine.memory_bytes ? html`<p class="note">It holds ${bytes(engine.memory_bytes)} of ${engine.memory_on === "gpu" ? "GPU" : "main"} memory.</p>` : null;
  const own = plan.parts.map((part, at) => ({ name: part.name, value: part.bytes, colour: (at % 6) + 1 }));
  const adapters = plan.adapters.slice(0, MOST_ADAPTERS).map((one, at) => ({ name: one.name, value: one.bytes, colour: ((own.length + at) % 6) + 1 }));
  const others = plan.adapters.slice(MOST_ADAPTERS).reduce((sum, one) => sum + one.bytes, 0);
  const taken = [...own, ...adapters, ...(others ? [{ name: `${plan.adapters.length - MOST_ADAPTERS} more adapters`, value: others, colour: 6 }] : [])];
  const sum = taken.reduce((total, part) => total + part.value, 0);
  return html`<h3>Memory <span class="note">${engine.memory_bytes ? `holds ${bytes(engine.memory_bytes)}; ` : ""}planned ${bytes(sum)} of ${bytes(plan.total_bytes)}</span></h3>
    <${Stack} label="Memory" parts=${[...taken, { name: "headroom", value: Math.max(0, Math.min(plan.headroom_bytes, plan.total_bytes - sum)), colour: 0 }]} total=${plan.total_bytes} format=${bytes} />`;
}

function Charts({ now, points, theme }) {
  const names = useMemo(() => busiest(now), [now]);
  const data = useMemo(() => {
    const lines = names.map((name) => (points.length > 2 ? series(points, name) : [])); // one moment makes no line
    const times = lines[0]?.map((one) => one.at) ?? [];
    const of = (field) => [times, ...lines.map((line) => line.map((one) => one[field]))];
    return { requests: of("requests"), firstToken: of("firstToken"), errors: of("errors"), any: times.length };
  }, [points, names.join()]);
  const idle = !data.any;
  return html`<${Card} wide id="traffic" title="Traffic" note="last minutes, by model">
    <div class="charts">
      <${Chart} title="Requests" unit="per second" format=${rate} names=${names} data=${data.requests} theme=${theme} empty=${idle && "Gathering …"} />
      <${Chart} title="Time to first token" unit="streamed answers, mean" format=${seconds} names=${names} data=${data.firstToken} theme=${theme} empty=${!idle && data.firstToken.slice(1).every((line) => line.every((one) => one == null)) && "No streamed answers in this time."} />
      <${Chart} title="Errors" unit="per second" format=${rate} names=${names} data=${data.errors} theme=${theme} />
    </div>
    <ul class="legend">${names.map((name, at) => html`<li><span class=${`dot c${(at % 6) + 1}`} aria-hidden="true"></span>${name}</li>`)}</ul>
  <//>`;
}

function busiest(now) {
  const models = now.counts.models;
  const known = [...now.tasks.map((task) => task.name), ...now.pipelines.map((one) => one.name), ...(now.base_open ? [now.base.name] : [])];
  return known
    .map((name) => [name, models[name]?.requests ?? 0])
    .sort((one, other) => other[1] - one[1])
    .slice(0, MOST_LINES)
    .map(([name]) => name);
}

function Traffic({ now, points }) {
  const rows = [
    ...now.tasks.map((task) => ({ name: task.name, kind: "task", about: task.description, versions: task.versions, shadow: task.shadow })),
    ...now.pipelines.map((one) => ({ name: one.name, kind: "pipeline", about: one.description, stages: one.stages })),
    ...(now.base_open ? [{ name: now.base.name, kind: "base", about: "the base model alone" }] : []),
  ];
  if (!rows.length) return html`<${Card} wide id="models" title="Models"><${Empty} title="No model that this key may see">An administrator says which models a key may call.<//><//>`;
  return html`<${Card} wide id="models" title="Models" note=${now.tasks_in_all > now.tasks.length ? `${now.tasks.length} of ${now.tasks_in_all} tasks` : undefined}>
    <div class="table-frame"><table class="rows">
      <thead><tr><th scope="col">Model</th><th scope="col">Adapter and split</th><th scope="col" class="num">Requests/s</th><th scope="col" class="num" title="Mean of the streams that this page has seen, of six minutes at most">First token, recent</th><th scope="col" class="num">Tokens/s</th><th scope="col" class="num">Errors</th><th scope="col" class="num">In all</th></tr></thead>
      <tbody>${rows.map((row) => html`<${Row} row=${row} now=${now} points=${points} />`)}</tbody>
    </table></div>
  <//>`;
}

function Row({ row, now, points }) {
  const seen = now.counts.models[row.name] ?? {};
  const current = nowRates(points, row.name);
  const codes = Object.entries(now.counts.errors[row.name] ?? {}).map(([code, number]) => `${code} ${number}`).join(", ");
  return html`<tr>
    <th scope="row"><a href=${`#/playground?${encodeURIComponent(row.name)}`}>${row.name}</a><span class="sub">${row.about || row.kind}</span></th>
    <td data-label="Adapter">${row.versions ? html`<${Split} versions=${row.versions} shadow=${row.shadow} />` : row.stages ? html`<span class="note">${row.stages.map((stage) => stage.task).join(" → ")}</span>` : html`<span class="note">none</span>`}</td>
    <td data-label="Requests/s" class="num">${rate(current.requests)}</td>
    <td data-label="First token, recent" class="num">${seconds(recentFirstToken(points, row.name))}</td>
    <td data-label="Tokens/s" class="num">${rate(current.tokens)}</td>
    <td data-label="Errors" class=${`num ${seen.errors ? "bad-text" : ""}`} title=${codes}>${count(seen.errors ?? 0)}</td>
    <td data-label="In all" class="num">${count(seen.requests ?? 0)}</td>
  </tr>`;
}

export function Split({ versions, shadow }) {
  const shown = versions.filter((version) => version.weight > 0);
  if (!versions.length) return html`<span class="note">no adapter</span>`;
  const state = versions.find((version) => version.state === "failed") ? "failed" : versions.some((version) => version.state !== "ready") ? "loading" : null;
  return html`<div class="split">
    <code>${(shown[0] ?? versions[0]).id}</code>
    ${shown.length > 1 && html`<div class="bar thin" role="img" aria-label=${shown.map((one) => `${one.id} ${one.weight} percent`).join(", ")}>${shown.map((one, at) => html`<span class=${`seg c${at + 1}`} style=${{ width: `${one.weight}%` }}></span>`)}</div><span class="note">${shown.map((one) => `${one.weight} %`).join(" / ")}</span>`}
    ${shadow && html`<span class="note">shadow ${shadow.id}, ${Math.round(shadow.share * 100)} %</span>`}
    ${state && html`<${Badge} state=${state} />`}
  </div>`;
}
