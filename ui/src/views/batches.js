// The batches of whoever is signed in, with how far they are.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api.js";
import { ago, count } from "../format.js";
import { Badge, Card, Confirm, Empty, Loading, Notice } from "../parts.js";

const OVER = ["completed", "failed", "expired", "cancelled"];

export function Batches({ live }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState("");
  const [ending, setEnding] = useState(null);
  const look = async () => {
    try {
      setFound((await ask("GET", "/pass/v1/batches?limit=50")).data);
      setError("");
    } catch (failed) {
      setError(failed.message);
    }
  };
  useEffect(() => {
    look();
    const timer = setInterval(() => document.hidden || look(), 2000);
    return () => clearInterval(timer);
  }, []);
  const all = live.now.counts.batches;
  const note = all.batches != null ? `${count(all.batches)} unfinished in all, ${count(all.batch_lines)} lines` : undefined;
  return html`<${Card} wide id="batches" title="Your batches" note=${note}>
    ${error && html`<${Notice} tone="bad">${error}<//>`}
    ${!found ? !error && html`<${Loading} what="Loading …" />` : !found.length ? html`<${Empty} title="No batches">Upload a file to <code>/v1/files</code> and make a batch of it at <code>/v1/batches</code>: many requests, run behind everybody's own.<//>` : html`
    <div class="table-frame"><table class="rows"><thead><tr><th scope="col">Batch</th><th scope="col">State</th><th scope="col">Progress</th><th scope="col" class="num">Failed</th><th scope="col">Made</th><th scope="col"><span class="off-screen">Actions</span></th></tr></thead>
    <tbody>${found.map((one) => html`<${Row} one=${one} onEnd=${() => setEnding(one)} />`)}</tbody></table></div>`}
    ${ending && html`<${Confirm} title="Cancel this batch?" verb="Cancel the batch" danger onClose=${() => setEnding(null)} act=${async () => (await ask("POST", `/pass/v1/batches/${ending.id}/cancel`, { body: {} }), look())}><p>What is done stays; the rest of <code>${ending.id}</code> is not run.</p><//>`}
  <//>`;
}

function Row({ one, onEnd }) {
  const { total = 0, completed = 0, failed = 0 } = one.request_counts ?? {};
  const done = completed + failed;
  return html`<tr>
    <th scope="row"><code>${one.id}</code><span class="sub">${one.endpoint}</span></th>
    <td data-label="State"><${Badge} state=${one.status}>${one.status.replace("_", " ")}<//></td>
    <td data-label="Progress"><div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax=${total} aria-valuenow=${done}><span class="seg c3" style=${{ width: `${total ? (100 * completed) / total : 0}%` }}></span><span class="seg c4" style=${{ width: `${total ? (100 * failed) / total : 0}%` }}></span></div><span class="note">${count(done)} of ${count(total)}</span></td>
    <td data-label="Failed" class="num">${count(failed)}</td>
    <td data-label="Made">${ago(one.created_at)}</td>
    <td>${!OVER.includes(one.status) && html`<button type="button" class="small" onClick=${onEnd}>Cancel</button>`}</td>
  </tr>`;
}
