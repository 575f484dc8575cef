// Adapters: what there is of them, and what may be done with each.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api.js";
import { ago, bytes, count, digestOf, lineage, seconds } from "../format.js";
import { Badge, Card, Confirm, CopyButton, Dialog, Empty, Fact, Loading, Notice } from "../parts.js";
import { AddAdapter, ARCHIVES } from "./add_adapter.js";
import { Split } from "./overview.js";

export function Models({ live, session, find, setFind }) {
  const { now } = live;
  const [adding, setAdding] = useState(null);
  const [over, setOver] = useState(false);
  const may = session.may_change && now.control_plane;
  const drop = (event) => {
    event.preventDefault();
    setOver(false);
    const file = event.dataTransfer?.files?.[0];
    if (file && may) setAdding({ file });
  };
  const drag = (event) => {
    if (!may || ![...(event.dataTransfer?.types ?? [])].includes("Files")) return;
    event.preventDefault();
    setOver(true);
  };
  return html`<div class=${`grid dropping ${over ? "over" : ""}`} onDragOver=${drag} onDragLeave=${() => setOver(false)} onDrop=${drop}>
    <div class="wide toolbar">
      <label class="search"><span class="off-screen">Find a task</span><input type="search" placeholder="Find a task" value=${find} onInput=${(event) => setFind(event.target.value.replace(/[^A-Za-z0-9._-]/g, ""))} /></label>
      ${may && html`<button type="button" class="primary" onClick=${() => setAdding({})}>Add an adapter</button>`}
    </div>
    ${!session.keys && html`<div class="wide"><${Notice}>Without keys the page shows and does not change: <code>lora-gateway keys create me --role admin</code> makes a key that may. The command line changes adapters here meanwhile.<//></div>`}
    ${may && html`<div class="wide drop-hint"><p>Drop an adapter's archive here (${ARCHIVES.join(", ")}) to add it.</p></div>`}
    ${now.operations.map((one) => html`<div class="wide"><${Notice} tone="busy" title=${`${one.task}:`}>${one.stage} · ${lineage(one.source)} · ${seconds(now.at - one.started_at)}<//></div>`)}
    ${!now.tasks.length && html`<${Card} wide><${Empty} title=${find ? "No task has such a name" : "No adapters yet"}>${find ? "Another part of its name?" : "An adapter is a folder in peft's format: adapter_config.json and adapter_model.safetensors."}<//><//>`}
    ${now.tasks.map((task) => html`<${Task} key=${task.name} task=${task} now=${now} may=${may && task.rules} />`)}
    ${now.tasks_in_all > now.tasks.length && html`<p class="wide note">${now.tasks.length} of ${now.tasks_in_all} tasks are shown; find the others by name.</p>`}
    ${adding && html`<${AddAdapter} file=${adding.file} tasks=${now.tasks.filter((task) => task.rules).map((task) => task.name)} tenant=${session.role === "operator" ? session.tenant : ""} onClose=${() => setAdding(null)} />`}
  </div>`;
}

function Task({ task, now, may }) {
  const [asking, setAsking] = useState(null);
  const admin = (method, path, body) => ask(method, `/pass/admin/adapters/${task.name}${path}`, body === undefined ? {} : { body });
  const several = task.versions.filter((version) => version.weight > 0).length > 1;
  return html`<${Card} wide id=${`task-${task.name}`} title=${task.name} note=${task.description} actions=${html`
    ${may && task.previous && !several && html`<button type="button" class="small" onClick=${() => setAsking("rollback")}>Roll back</button>`}
    ${task.shadow && task.rules && html`<button type="button" class="small" onClick=${() => setAsking("shadow")}>Shadow's differences</button>`}
    ${may && html`<button type="button" class="small" onClick=${() => setAsking("remove")}>Remove</button>`}`}>
    <div class="task-tags">
      ${several && html`<${Split} versions=${task.versions} />`}
      ${task.schema && html`<${Badge}>structured answers<//>`}
      ${task.fallback && html`<${Badge}>falls back to ${task.fallback}<//>`}
      ${!task.configured && html`<${Badge}>added by a command<//>`}
    </div>
    ${!task.versions.length && html`<${Empty} title="No adapter">Add one to serve this task.<//>`}
    <div class="versions">${task.versions.map((version) => html`<${Version} version=${version} task=${task} now=${now} may=${may} onPromote=${() => setAsking({ promote: version })} onRemove=${() => setAsking({ drop: version })} />`)}</div>
    ${asking === "rollback" && html`<${Confirm} title=${`Roll ${task.name} back?`} verb="Roll back" onClose=${() => setAsking(null)} act=${() => admin("POST", "/rollback", {})}><p><code>${task.previous}</code> answers again from the next request on. Requests under way end as they began.</p><//>`}
    ${asking === "remove" && html`<${Confirm} title=${`Remove ${task.name}?`} verb="Remove the task" danger onClose=${() => setAsking(null)} act=${() => admin("DELETE", "")}><p>All of its versions are unloaded, and the model <code>${task.name}</code> is gone for its clients.</p><//>`}
    ${asking?.promote && html`<${Confirm} title="Promote this version?" verb="Promote" onClose=${() => setAsking(null)} act=${() => admin("POST", "/promote", { id: asking.promote.id })}><p><code>${asking.promote.id}</code> gets all of the task's requests.</p><//>`}
    ${asking?.drop && html`<${Confirm} title="Remove this version?" verb="Remove the version" danger onClose=${() => setAsking(null)} act=${() => admin("DELETE", `?id=${encodeURIComponent(asking.drop.id)}`)}><p><code>${asking.drop.id}</code> is unloaded once its last request has ended.</p><//>`}
    ${asking === "shadow" && html`<${Differences} task=${task} counts=${now.counts.shadow[task.shadow?.id] ?? {}} onClose=${() => setAsking(null)} />`}
  <//>`;
}

function roleOf(version, task) {
  if (task.shadow?.id === version.id) return "shadow";
  if (version.weight > 0) return version.weight < 100 && version !== task.versions[0] ? "canary" : "active";
  return version.id === task.previous ? "previous" : "kept";
}

function Version({ version, task, now, may, onPromote, onRemove }) {
  const role = roleOf(version, task);
  const resident = now.counts.resident[version.id];
  const candidate = role === "canary" || role === "shadow" || (role === "active" && version.weight < 100);
  return html`<div class=${`version ${role}`}>
    <div class="version-head">
      <code class="id">${version.id}</code><${CopyButton} text=${version.id} />
      <${Badge} state=${role === "active" ? "ready" : ""}>${role}${version.weight > 0 && version.weight < 100 ? ` ${version.weight} %` : ""}<//>
      ${version.state !== "ready" && html`<${Badge} state=${version.state} />`}
      <span class="spread"></span>
      ${may && candidate && html`<button type="button" class="small" onClick=${onPromote}>Promote</button>`}
      ${may && task.versions.length > 1 && role !== "active" && html`<button type="button" class="small" onClick=${onRemove}>Remove</button>`}
    </div>
    ${version.reason && html`<${Notice} tone="bad">${version.reason}<//>`}
    <dl class="facts">
      <${Fact} label="Rank">${version.rank || "–"}<//>
      <${Fact} label="Size">${bytes(version.size_bytes || null)}<//>
      <${Fact} label="Digest" title="of its weights and configuration"><code>${digestOf(version.id)}</code><//>
      <${Fact} label="Lineage" title=${version.source}>${lineage(version.source) || "–"}<//>
      <${Fact} label="Added">${version.added_at ? ago(version.added_at, now.at) : "–"}<//>
      <${Fact} label="Residency" title="An adapter is loaded on an engine, and takes a LoRA slot while it is asked for">${version.loaded_on.length ? (resident ? "in a LoRA slot" : `loaded on ${version.loaded_on.join(", ")}`) : "not loaded"}<//>
      <${Fact} label="Proof" title="Before an adapter is served it has to answer its canary otherwise than the base does">${version.loaded_on.length ? "proven" : version.state === "failed" ? "failed" : "to come"}<//>
      <${Fact} label="Fingerprint" title="over the tokens of its canary's answer"><code>${version.fingerprint || "–"}</code><//>
      <${Fact} label="Requests">${count(now.counts.models[version.id]?.requests ?? 0)}<//>
    </dl>
  </div>`;
}

function Differences({ task, counts, onClose }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState("");
  useEffect(() => {
    ask("GET", `/shadow/${task.name}`).then(({ records }) => setFound(records), (failed) => setError(failed.message));
  }, []);
  const answered = (counts.same ?? 0) + (counts.different ?? 0);
  return html`<${Dialog} title=${`Shadow of ${task.name}`} onClose=${onClose}>
    <dl class="facts"><${Fact} label="Same">${count(counts.same ?? 0)}<//><${Fact} label="Different">${count(counts.different ?? 0)}<//><${Fact} label="Failed">${count(counts.failed ?? 0)}<//><${Fact} label="Agreement">${answered ? `${Math.round((100 * (counts.same ?? 0)) / answered)} %` : "–"}<//></dl>
    ${error && html`<${Notice} tone="bad">${error}<//>`}
    ${!found ? !error && html`<${Loading} what="Loading …" />` : !found.length ? html`<${Empty} title="No copies yet">A share of the task's requests is copied to the candidate; its answers are compared here, never sent.<//>` : html`
    <div class="table-frame scroll"><table class="rows"><thead><tr><th scope="col">When</th><th scope="col">Outcome</th><th scope="col">Where they differ</th><th scope="col" class="num">Own, candidate</th></tr></thead>
    <tbody>${found.map((one) => html`<tr><td data-label="When">${ago(one.at)}</td><td data-label="Outcome"><${Badge} state=${one.outcome} /></td><td data-label="Where">${one.reason || one.paths.join(", ") || (one.outcome === "different" ? "in the text" : "–")}</td><td data-label="Time" class="num">${one.ms.length === 2 ? one.ms.map((ms) => seconds(ms / 1000)).join(", ") : "–"}</td></tr>`)}</tbody></table></div>`}
    <div class="dialog-foot"><button type="button" onClick=${onClose}>Close</button></div>
  <//>`;
}
