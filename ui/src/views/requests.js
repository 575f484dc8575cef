// The last requests and where their time went; never what they said.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api.js";
import { clock, count, seconds } from "../format.js";
import { Badge, Card, Empty, Loading, Notice } from "../parts.js";

export function Requests() {
  const [found, setFound] = useState(null);
  const [error, setError] = useState("");
  const [only, setOnly] = useState("all");
  useEffect(() => {
    let over = false;
    let timer;
    const look = async () => {
      if (!document.hidden) {
        try {
          const { requests } = await ask("GET", "/requests");
          if (!over) setFound(requests), setError("");
        } catch (failed) {
          if (!over) setError(failed.message);
        }
      }
      if (!over) timer = setTimeout(look, 2000);
    };
    look();
    return () => ((over = true), clearTimeout(timer));
  }, []);
  const [most, setMost] = useState(40);
  const fitting = (found ?? []).filter((one) => only === "all" || (only === "errors" ? one.status >= 400 : one.origin === only));
  const shown = fitting.slice(0, most);
  const longest = Math.max(0.001, ...shown.map((one) => one.total_s));
  const filter = html`<label>Show <select value=${only} onChange=${(event) => setOnly(event.target.value)}>
    <option value="all">all</option><option value="client">clients'</option><option value="pipeline">pipelines' stages</option><option value="batch">batches'</option><option value="errors">errors</option>
  </select></label>`;
  return html`<${Card} wide id="recent" title="Recent requests" note="without what they said" actions=${filter}>
    ${error && html`<${Notice} tone="bad">${error}<//>`}
    ${!found ? !error && html`<${Loading} what="Loading …" />` : !shown.length ? html`<${Empty} title=${found.length ? "None of these" : "No requests yet"}>${found.length ? "Among the last few hundred there is none." : "The last few hundred stand here as they end."}<//>` : html`
    <ul class="legend"><li><span class="dot c5" aria-hidden="true"></span>waiting</li><li><span class="dot c1" aria-hidden="true"></span>until the first token, or a whole answer</li><li><span class="dot c3" aria-hidden="true"></span>the rest of the answer</li></ul>
    <div class="table-frame"><table class="rows requests">
      <thead><tr><th scope="col">When</th><th scope="col">Model</th><th scope="col">Status</th><th scope="col" class="time-col">Where the time went</th><th scope="col" class="num">Total</th><th scope="col" class="num">First token</th><th scope="col" class="num">Tokens in, out</th><th scope="col">Key</th></tr></thead>
      <tbody>${shown.map((one) => html`<${Row} key=${`${one.at} ${one.request_id}`} one=${one} longest=${longest} />`)}</tbody>
    </table></div>
    ${fitting.length > most && html`<p class="more"><button type="button" onClick=${() => setMost(most + 80)}>Show more</button></p>`}`}
  <//>`;
}

function Row({ one, longest }) {
  const begun = one.first_token_s ?? (one.engine_s == null ? one.total_s : one.queue_s + one.engine_s);
  const engine = Math.min(Math.max(0, begun - one.queue_s), Math.max(0, one.total_s - one.queue_s));
  const rest = Math.max(0, one.total_s - one.queue_s - engine);
  const parts = [[one.queue_s, 5, "waiting"], [engine, 1, "until the answer began"], [rest, 3, "rest"]];
  return html`<tr title=${one.request_id}>
    <td data-label="When">${clock(one.at)}</td>
    <th scope="row">${one.task || "–"}<span class="sub">${one.adapter || one.path}${one.origin === "client" ? "" : ` · ${one.origin}`}</span></th>
    <td data-label="Status"><${Badge} state=${one.status < 400 ? "ready" : one.status === 499 ? "cancelled" : "failed"}>${one.status}<//>${one.code && html`<span class="sub">${one.code}</span>`}</td>
    <td data-label="Time" class="time-col"><div class="bar thin" role="img" aria-label=${parts.map(([value, , name]) => `${name} ${seconds(value)}`).join(", ")}>${parts.map(([value, colour]) => html`<span class=${`seg c${colour}`} style=${{ width: `${(100 * value) / longest}%` }}></span>`)}</div></td>
    <td data-label="Total" class="num">${seconds(one.total_s)}</td>
    <td data-label="First token" class="num">${seconds(one.first_token_s)}</td>
    <td data-label="Tokens" class="num">${one.prompt_tokens || one.completion_tokens ? `${count(one.prompt_tokens)}, ${count(one.completion_tokens)}` : "–"}</td>
    <td data-label="Key">${one.key || "–"}</td>
  </tr>`;
}
