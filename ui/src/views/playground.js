// Trying a model: its answer as it comes, beside another's where asked.
import { html } from "htm/preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { run } from "../asking.js";
import { count, seconds } from "../format.js";
import { CopyButton, Empty, Notice } from "../parts.js";
import { parsed } from "../partial.js";
import { snippets } from "../snippets.js";
import { Timeline } from "../timeline.js";

const TERMS = ["apple: round fruit with red or green skin", "truck: a large vehicle for carrying loads", "banana", "bicycle: a vehicle with two wheels and pedals", "bus", "cherry: a small red fruit with a stone"].join("\n");
const CONCEPT = "Definition: A sweet part of a plant that people eat raw.\nMembers: apple, banana, cherry";
const NOTHING = { text: "", model: "", elements: [], seenAt: [], calls: [], usage: null, firstMs: null, ms: 0, done: false, cold: false };

function modelsOf(now) {
  const tasks = now.tasks.filter((task) => task.versions.length);
  const versions = tasks.flatMap((task) => task.versions.filter((version) => version.loaded_on.length).map((version) => version.id));
  return { pipelines: now.pipelines.map((one) => one.name), tasks: tasks.map((task) => task.name), base: now.base_open ? [now.base.name] : [], versions };
}

const asked = () => decodeURIComponent(location.hash.split("?")[1] ?? "");

export function Playground({ live, session }) {
  const { now } = live;
  const models = modelsOf(now);
  const all = [...models.pipelines, ...models.tasks, ...models.base, ...models.versions];
  const [model, setModel] = useState(() => (all.includes(asked()) ? asked() : (all[0] ?? "")));
  const [other, setOther] = useState("");
  const [input, setInput] = useState(() => exampleFor(model, now));
  const [options, setOptions] = useState({ maxTokens: "", temperature: "" });
  const [sides, setSides] = useState([]);
  const aborts = useRef([]);
  const busy = sides.some((side) => side.running);
  useEffect(() => () => aborts.current.forEach((abort) => abort.abort()), []);
  if (!all.length) return html`<${Empty} title="No model to try">This key may call none, or none is loaded yet.<//>`;
  const start = async (event) => {
    event?.preventDefault();
    const names = [model, ...(other ? [other] : [])];
    aborts.current = names.map(() => new AbortController());
    setSides(names.map((name) => ({ name, state: NOTHING, running: true, error: "" })));
    await Promise.all(names.map((name, at) => one(name, at)));
  };
  const one = async (name, at) => {
    const change = (fields) => setSides((held) => held.map((side, place) => (place === at ? { ...side, ...fields } : side)));
    const began = performance.now();
    const ticking = setInterval(() => setSides((held) => held.map((side, place) => (place === at && side.running ? { ...side, state: { ...side.state, ms: performance.now() - began } } : side))), 100);
    try {
      for await (const state of run({ model: name, input, ...options, signal: aborts.current[at].signal })) change({ state });
    } catch (error) {
      change({ error: error.name === "AbortError" ? "Stopped." : error.message });
    } finally {
      clearInterval(ticking);
      change({ running: false });
    }
  };
  const stop = () => aborts.current.forEach((abort) => abort.abort());
  const keys = (event) => (event.ctrlKey || event.metaKey) && event.key === "Enter" && !busy && start();
  const options_ = (none) => html`${none && html`<option value="">${none}</option>`}
    ${models.pipelines.length > 0 && html`<optgroup label="Pipelines">${models.pipelines.map((name) => html`<option>${name}</option>`)}</optgroup>`}
    ${models.tasks.length > 0 && html`<optgroup label="Tasks">${models.tasks.map((name) => html`<option>${name}</option>`)}</optgroup>`}
    ${models.base.length > 0 && html`<optgroup label="Base">${models.base.map((name) => html`<option>${name}</option>`)}</optgroup>`}
    ${models.versions.length > 0 && html`<optgroup label="Versions">${models.versions.map((name) => html`<option>${name}</option>`)}</optgroup>`}`;
  const cold = !now.engines.some((engine) => engine.state === "ready");
  return html`<div class="playground">
    <form class="card ask" onSubmit=${start}>
      <div class="fields">
        <div><label for="model">Model</label><select id="model" value=${model} onChange=${(event) => (setModel(event.target.value), isExample(input) && setInput(exampleFor(event.target.value, now)))}>${options_()}</select></div>
        <div><label for="other">Beside it</label><select id="other" value=${other} onChange=${(event) => setOther(event.target.value)}>${options_("nothing")}</select></div>
        <div class="narrow"><label for="max">Most tokens</label><input id="max" type="number" min="1" placeholder="task's own" value=${options.maxTokens} onInput=${(event) => setOptions({ ...options, maxTokens: event.target.value })} /></div>
        <div class="narrow"><label for="temperature">Temperature</label><input id="temperature" type="number" min="0" max="2" step="0.1" placeholder="task's own" value=${options.temperature} onInput=${(event) => setOptions({ ...options, temperature: event.target.value })} /></div>
      </div>
      <label for="input">Input</label>
      <textarea id="input" rows="7" required value=${input} onInput=${(event) => setInput(event.target.value)} onKeyDown=${keys}></textarea>
      <div class="ask-foot">
        ${busy ? html`<button type="button" onClick=${stop}>Stop</button>` : html`<button class="primary">Run</button>`}
        <span class="note">${cold ? "No engine is ready: the request waits for its start." : "Ctrl + Enter runs it"}</span>
        <span class="spread"></span>
        <${Copies} model=${model} input=${input} keys=${session.keys} />
      </div>
    </form>
    <div class=${`sides ${sides.length > 1 ? "two" : ""}`} aria-live="polite" aria-busy=${busy}>
      ${sides.length ? sides.map((side) => html`<${Side} side=${side} pipeline=${now.pipelines.find((one) => one.name === side.name)} />`) : html`<div class="card"><${Empty} title="Nothing asked yet">Pick a model, change the input if you like, and run it.<//></div>`}
    </div>
  </div>`;
}

const isExample = (text) => text === TERMS || text === CONCEPT || !text.trim();
function exampleFor(model, now) {
  const name = model.split("@")[0];
  const fed = now.pipelines.some((one) => one.stages.some((stage) => stage.task === name && stage.for_each));
  return fed ? CONCEPT : TERMS;
}

function Copies({ model, input, keys }) {
  const made = snippets(location.origin, model, input, keys);
  return html`<span class="copies"><span class="note">Copy as</span>${Object.entries(made).map(([name, text]) => html`<${CopyButton} text=${text} label=${name} />`)}</span>`;
}

function Side({ side, pipeline }) {
  const { state, running, error, name } = side;
  const usage = state.usage;
  return html`<section class="card side" aria-label=${`Answer of ${name}`}>
    <header class="card-head"><h2>${name}</h2>${state.model && state.model !== name && html`<code class="note">${state.model.replaceAll(",", ", ")}</code>`}</header>
    ${pipeline && html`<${Stages} pipeline=${pipeline} state=${state} running=${running} />`}
    ${error && html`<${Notice} tone=${error === "Stopped." ? "quiet" : "bad"}>${error}<//>`}
    ${!state.text && running && html`<p class="note waiting"><span class="spinner" aria-hidden="true"></span>${pipeline ? `${pipeline.stages[0].id} is at work …` : "Waiting for the first token …"}</p>`}
    ${pipeline && state.elements.length ? html`<${Elements} state=${state} stages=${pipeline.stages} />` : state.text && html`<${Text} text=${state.text} running=${running} />`}
    ${pipeline && pipeline.stages.length > 1 && (running || state.calls.length > 0) && html`<${Timeline} stages=${pipeline.stages} state=${state} running=${running} />`}
    <footer class="measures"><span>${pipeline ? "first concept" : "first token"} <b>${seconds(state.firstMs == null ? null : state.firstMs / 1000)}</b></span><span>total <b>${seconds(state.ms / 1000)}</b></span>${usage && html`<span>tokens <b>${count(usage.prompt_tokens)}</b> in, <b>${count(usage.completion_tokens)}</b> out</span>`}${state.cold && html`<span>waited for a start</span>`}</footer>
  </section>`;
}

function Stages({ pipeline, state, running }) {
  const of = (stage, at) => {
    const calls = state.calls.filter((call) => call.stage === stage.id);
    if (calls.some((call) => call.end == null)) return running ? "on" : "done";
    if (calls.length) return running && stage.for_each && !state.done && state.calls.some((call) => call.end == null) ? "on" : "done";
    return running && at === 0 ? "on" : "";
  };
  return html`<ol class="stages">${pipeline.stages.map((stage, at) => html`<li class=${of(stage, at)}><span class=${`lamp c${at + 1}`} aria-hidden="true"></span><b>${stage.id}</b><span class="note">${stage.task}${stage.for_each ? ", for each" : ""}</span><span class="off-screen">${{ on: "running", done: "done" }[of(stage, at)] ?? "waiting"}</span></li>`)}</ol>`;
}

function Elements({ state, stages }) {
  const into = stages.filter((stage) => stage.into).map((stage) => stage.into);
  return html`<ol class="concepts">${state.elements.map((element, at) => html`<${Element} element=${element} into=${into} ms=${state.seenAt[at]} />`)}</ol>`;
}

function Element({ element, into, ms }) {
  const title = into.map((field) => element[field]).find((value) => typeof value === "string");
  const rest = Object.entries(element).filter(([field, value]) => value !== title || field !== into.find((one) => element[one] === title));
  return html`<li class="concept">
    <div class="concept-head"><h3>${title ?? (into.length ? "no name" : "element")}</h3><span class="note">${seconds(ms / 1000)}</span></div>
    ${rest.map(([field, value]) => (Array.isArray(value) && value.every((one) => typeof one === "string") ? html`<ul class="chips" aria-label=${field}>${value.map((one) => html`<li>${one}</li>`)}</ul>` : html`<p>${typeof value === "string" ? value : JSON.stringify(value)}</p>`))}
  </li>`;
}

function Text({ text, running }) {
  const value = running ? undefined : parsed(text);
  if (value === undefined || typeof value === "string") return html`<pre class="answer">${value ?? text}${running && html`<span class="caret" aria-hidden="true"></span>`}</pre>`;
  return html`<div class="structured"><span class="note">structured answer</span><pre class="answer json" tabindex="0">${coloured(JSON.stringify(value, null, 2))}</pre></div>`;
}

const PIECES = /("(?:\\.|[^"\\])*")(\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;
function coloured(text) {
  const made = [];
  let last = 0;
  for (const match of text.matchAll(PIECES)) {
    made.push(text.slice(last, match.index));
    made.push(html`<span class=${match[2] ? "j-key" : match[1] ? "j-text" : "j-word"}>${match[1] ?? match[0]}</span>${match[2] ?? ""}`);
    last = match.index + match[0].length;
  }
  return [...made, text.slice(last)];
}
