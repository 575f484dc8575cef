// Where there are several engines: who is where and why, what is on its way, and what was moved.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api.js";
import { clock, count, rate } from "../format.js";
import { Badge, Card, Empty, Fact, Notice } from "../parts.js";

const EVERY_MS = 3000;
const MOST_ADAPTERS = 50;
const MOST_MOVES = 10;

// What the control plane says, where this key is told; else what everybody sees.
function usePlacement(asks) {
  const [found, setFound] = useState({ told: null, error: "" });
  useEffect(() => {
    if (!asks) return undefined;
    let inFlight = false;
    const look = async () => {
      if (inFlight) return;
      inFlight = true;
      try {
        setFound({ told: await ask("GET", "/placement"), error: "" });
      } catch (error) {
        setFound((held) => ({ ...held, error: error.message }));
      }
      inFlight = false;
    };
    look();
    const timer = setInterval(() => document.hidden || look(), EVERY_MS);
    return () => clearInterval(timer);
  }, [asks]);
  return found;
}

export function Placement({ now, session }) {
  const asks = now.engines.length > 1 && (session.role === "admin" || !session.keys);
  const { told, error } = usePlacement(asks);
  if (now.engines.length < 2) return null;
  const engines = told?.engines ?? now.engines.map((one) => ({ ...one, adapters: one.loaded, coming: [], leaving: [] }));
  const adapters = told?.adapters ?? seenOn(engines);
  const busiest = [...adapters].sort((one, other) => (other.tokens_per_s ?? 0) - (one.tokens_per_s ?? 0));
  const sum = (field) => Object.values(now.counts.models).reduce((total, one) => total + (one[field] ?? 0), 0);
  return html`<${Card} wide id="placement" title="Placement" note=${told ? policy(told) : undefined}>
    ${error && html`<${Notice} tone="warn" title=${told ? "From before:" : "Without why:"}>${error}<//>`}
    <dl class="facts">
      <${Fact} label="Running now">${count(sum("in_flight"))}<//>
      <${Fact} label="Waiting">${count(sum("waiting"))}<//>
      ${told?.planned && html`<${Fact} label="Moves left" title="That may be made this minute">${told.moves_left}<//>`}
    </dl>
    <ul class="places">${engines.map((one) => html`<${Place} engine=${one} />`)}</ul>
    ${adapters.length ? html`<${Adapters} shown=${busiest.slice(0, MOST_ADAPTERS)} engines=${engines} told=${told} />` : html`<${Empty} title="No adapter yet">They are loaded as engines become ready.<//>`}
    ${adapters.length > MOST_ADAPTERS && html`<p class="note">The ${MOST_ADAPTERS} that are asked for most, of ${adapters.length}; <code>lora-gateway placement</code> lists all.</p>`}
    ${told && told.moves.length > 0 && html`<${Moves} moves=${told.moves.slice(-MOST_MOVES).reverse()} />`}
  <//>`;
}

const policy = (told) =>
  told.planned
    ? `${told.policy}: each adapter on ${told.min_replicas} or more engines, as its traffic needs`
    : `${told.policy}: every adapter on every engine`;

function seenOn(engines) {
  const ids = [...new Set(engines.flatMap((one) => one.adapters))].sort();
  return ids.map((id) => ({ id, loaded_on: engines.filter((one) => one.adapters.includes(id)).map((one) => one.name) }));
}

function Place({ engine }) {
  const taken = engine.adapters.length;
  const said = `${taken} adapters on ${engine.slots ?? "unknown"} slots`;
  return html`<li class="place">
    <div class="meter-head"><b>${engine.name}</b><${Badge} state=${engine.state} /></div>
    <div class="bar thin" role="img" aria-label=${said}><span class="seg c1" style=${{ width: `${engine.slots ? Math.min(100, (100 * taken) / engine.slots) : 0}%` }}></span></div>
    <p class="note">${said}${engine.coming.length ? `, ${engine.coming.length} coming` : ""}${engine.leaving.length ? `, ${engine.leaving.length} leaving` : ""}</p>
  </li>`;
}

function Adapters({ shown, engines, told }) {
  return html`<div class="table-frame"><table class="rows">
    <thead><tr><th scope="col">Adapter</th>${told && html`<th scope="col" class="num">Tokens/s</th>`}<th scope="col">Engines</th>${told && html`<th scope="col">Why there</th>`}</tr></thead>
    <tbody>${shown.map((one) => html`<tr>
      <th scope="row"><code>${one.id}</code></th>
      ${told && html`<td data-label="Tokens/s" class="num">${rate(one.tokens_per_s)}</td>`}
      <td data-label="Engines"><${Homes} one=${one} engines=${engines} /></td>
      ${told && html`<td data-label="Why there">${one.why ? html`<span class="note">${one.why}</span>` : html`<span class="note">${told.planned ? "–" : "every engine has all"}</span>`}</td>`}
    </tr>`)}</tbody>
  </table></div>`;
}

// Every engine that has the adapter, gets it or is to have it, each with a word where it is not simply there.
function Homes({ one, engines }) {
  const homes = one.homes ?? one.loaded_on;
  const chips = engines.flatMap(({ name, coming, leaving }) => {
    if (leaving.includes(one.id)) return [[name, "leaving"]];
    if (one.loaded_on.includes(name)) return [[name, ""]];
    if (coming.includes(one.id)) return [[name, "coming"]];
    return homes.includes(name) ? [[name, "to come"]] : [];
  });
  if (!chips.length) return html`<span class="note">none yet</span>`;
  return html`<ul class="chips">${chips.map(([name, word]) => html`<li class=${word ? "moving" : ""}>${name}${word && html` <span class="note">${word}</span>`}</li>`)}</ul>`;
}

const Moves = ({ moves }) => html`<h3>Moves of late</h3>
  <ol class="moves">${moves.map((one) => html`<li><time class="note">${clock(one.at)}</time><span><code>${one.id}</code> ${one.did} on <b>${one.engine}</b></span>${one.why && html`<span class="note">${one.why}</span>`}</li>`)}</ol>`;
