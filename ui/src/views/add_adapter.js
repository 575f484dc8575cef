// A new version of a task: from an archive that is uploaded, or from a place that the control plane reaches.
import { html } from "htm/preact";
import { useState } from "preact/hooks";
import { ask } from "../api.js";
import { bytes } from "../format.js";
import { Dialog, Notice } from "../parts.js";

export const ARCHIVES = [".tar", ".tar.gz", ".tgz", ".zip"];

export function AddAdapter({ file: given, tasks, tenant, onClose }) {
  const [file, setFile] = useState(given ?? null);
  const [task, setTask] = useState(tenant ? `${tenant}.` : (tasks[0] ?? ""));
  const [source, setSource] = useState("");
  const [how, setHow] = useState("all");
  const [share, setShare] = useState(10);
  const [state, setState] = useState({ busy: false, error: "", warnings: null });
  const wishes = { ...(how === "canary" ? { canary: Number(share) } : {}), ...(how === "shadow" ? { shadow: Number(share) / 100 } : {}) };
  const submit = async (event) => {
    event.preventDefault();
    setState({ busy: true, error: "", warnings: null });
    try {
      const told = file
        ? await ask("POST", "/adapters", { body: file, headers: { "x-adapter": encodeURIComponent(JSON.stringify({ file: file.name, task, ...wishes })) } })
        : await ask("POST", "/pass/admin/adapters", { body: { task, source, ...wishes } });
      if (told.warnings?.length) setState({ busy: false, error: "", warnings: told.warnings });
      else onClose();
    } catch (error) {
      setState({ busy: false, error: error.message, warnings: null });
    }
  };
  if (state.warnings)
    return html`<${Dialog} title="Added" onClose=${onClose}>${state.warnings.map((one) => html`<${Notice} tone="warn">${one}<//>`)}<div class="dialog-foot"><button type="button" class="primary" onClick=${onClose}>Close</button></div><//>`;
  return html`<${Dialog} title="Add an adapter" onClose=${onClose}>
    <form onSubmit=${submit} class="form">
      <label for="add-task">Task</label>
      <input id="add-task" list="known-tasks" required pattern="[A-Za-z0-9][A-Za-z0-9._\\-]*" maxlength="63" value=${task} onInput=${(event) => setTask(event.target.value)} />
      <datalist id="known-tasks">${tasks.map((name) => html`<option value=${name}></option>`)}</datalist>
      <label for="add-file">Archive</label>
      ${file ? html`<p class="picked"><code>${file.name}</code> ${bytes(file.size)} <button type="button" class="small" onClick=${() => setFile(null)}>Another</button></p>` : html`<input id="add-file" type="file" accept=${ARCHIVES.join()} onChange=${(event) => setFile(event.target.files[0] ?? null)} />
      <label for="add-source">or a folder, hf://org/name or s3://bucket/folder</label>
      <input id="add-source" value=${source} onInput=${(event) => setSource(event.target.value)} />`}
      <fieldset><legend>It begins with</legend>
        <label class="choice"><input type="radio" name="how" checked=${how === "all"} onChange=${() => setHow("all")} />every request</label>
        <label class="choice"><input type="radio" name="how" checked=${how === "canary"} onChange=${() => setHow("canary")} />a share of them (canary)</label>
        <label class="choice"><input type="radio" name="how" checked=${how === "shadow"} onChange=${() => setHow("shadow")} />copies of a share, answering none (shadow)</label>
      </fieldset>
      ${how !== "all" && html`<label for="add-share">Share, in percent</label><input id="add-share" type="number" min="1" max=${how === "canary" ? 99 : 100} required value=${share} onInput=${(event) => setShare(event.target.value)} />`}
      ${state.error && html`<${Notice} tone="bad">${state.error}<//>`}
      ${state.busy && html`<${Notice} tone="busy">It is checked, loaded on every engine and proven before it is served.<//>`}
      <div class="dialog-foot"><button type="button" onClick=${onClose}>${state.busy ? "Close" : "Cancel"}</button><button class="primary" disabled=${state.busy || !(file || source.trim())}>${state.busy ? "Adding …" : "Add"}</button></div>
    </form>
  <//>`;
}
