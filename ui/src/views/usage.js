// Keys, their limits, and what is used of those.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api.js";
import { count, day } from "../format.js";
import { Badge, Card, Empty, Loading, Notice } from "../parts.js";

const BOUNDS = {
  requests_per_minute: "requests a minute",
  tokens_per_minute: "tokens a minute",
  max_in_flight: "requests at once",
  tokens_per_day: "tokens a day",
  tokens_per_month: "tokens a month",
};

export function Usage({ session }) {
  const [found, setFound] = useState(null);
  const [error, setError] = useState("");
  useEffect(() => {
    const look = async () => {
      try {
        setFound(await ask("GET", "/usage"));
        setError("");
      } catch (failed) {
        setError(failed.message);
      }
    };
    look();
    const timer = setInterval(() => document.hidden || look(), 3000);
    return () => clearInterval(timer);
  }, []);
  if (error && !found) return html`<${Notice} tone="bad">${error}<//>`;
  if (!found) return html`<${Loading} what="Loading …" />`;
  return html`<div class="grid">
    <${Card} wide id="limits" title="Limits" note="used now">
      ${!found.limits.length ? html`<${Empty} title="No limits">Rates and budgets stand under <code>limits</code> in the configuration, or come with <code>lora-gateway keys limit</code>.<//>` : html`
      <div class="limits">${found.limits.map((one) => html`<${Account} one=${one} />`)}</div>`}
    <//>
    <${Card} wide id="keys" title=${session.role === "user" && session.keys ? "Your key" : "Keys"}>
      ${!found.keys.length ? html`<${Empty} title="No keys">The gateway is open to this machine alone. <code>lora-gateway keys create NAME</code> makes a key; from then on everybody needs one.<//>` : html`
      <div class="table-frame"><table class="rows"><thead><tr><th scope="col">Key</th><th scope="col">Role</th><th scope="col">Models</th><th scope="col">Until</th></tr></thead>
      <tbody>${found.keys.map((one) => html`<${Key} one=${one} />`)}</tbody></table></div>`}
    <//>
  </div>`;
}

const Account = ({ one }) => html`<div class="account"><h3>${one.said}</h3>
  ${one.bounds.map(({ bound, most, used }) => html`<div class="meter">
    <div class="meter-head"><span>${BOUNDS[bound]}</span><span><b>${count(used)}</b> of ${count(most)}</span></div>
    <div class="bar thin" role="meter" aria-label=${BOUNDS[bound]} aria-valuemin="0" aria-valuemax=${most} aria-valuenow=${used}><span class=${`seg ${used >= most ? "c4" : used > most * 0.8 ? "c5" : "c1"}`} style=${{ width: `${Math.min(100, (100 * used) / most)}%` }}></span></div>
  </div>`)}</div>`;

function Key({ one }) {
  const over = one.disabled ? "revoked" : one.expires_at && one.expires_at * 1000 < Date.now() ? "expired" : null;
  return html`<tr>
    <th scope="row">${one.name}${one.tenant && html`<span class="sub">${one.tenant}</span>`}</th>
    <td data-label="Role"><${Badge} state=${over ?? one.role}>${over ?? one.role}<//></td>
    <td data-label="Models">${one.tasks == null ? "every model" : one.tasks.length ? html`<code>${one.tasks.join(", ")}</code>` : "none"}</td>
    <td data-label="Until">${one.expires_at ? day(one.expires_at) : "no end"}${one.rotating_until && html`<span class="sub">the earlier secret until ${day(one.rotating_until)}</span>`}</td>
  </tr>`;
}
