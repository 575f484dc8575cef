// Small pieces that every view is made of.
import { html } from "htm/preact";
import { useEffect, useRef, useState } from "preact/hooks";

export const Card = ({ title, note, actions, children, wide, id }) => html`
  <section class=${`card ${wide ? "wide" : ""}`} aria-labelledby=${id}>
    ${title && html`<header class="card-head">
      <h2 id=${id}>${title}</h2>
      ${note && html`<span class="note">${note}</span>`}
      ${actions && html`<div class="actions">${actions}</div>`}
    </header>`}
    ${children}
  </section>`;

const TONES = {
  ready: "good", same: "good", completed: "good", admin: "accent",
  starting: "busy", draining: "busy", pending: "busy", loading: "busy", in_progress: "busy", validating: "busy", finalizing: "busy", cancelling: "busy",
  failed: "bad", different: "warn", expired: "bad", revoked: "bad", cancelled: "warn",
};
export const Badge = ({ state, children }) => html`<span class=${`badge ${TONES[state] ?? "quiet"}`}>${children ?? state}</span>`;

export const Notice = ({ tone = "quiet", title, children }) => html`
  <div class=${`notice ${tone}`} role=${tone === "bad" ? "alert" : "status"}>
    ${title && html`<strong>${title}</strong>`}<div>${children}</div>
  </div>`;

export const Empty = ({ title, children }) => html`<div class="empty"><p class="empty-title">${title}</p><p>${children}</p></div>`;
export const Loading = ({ what }) => html`<div class="empty" role="status"><span class="spinner" aria-hidden="true"></span><p>${what}</p></div>`;

export const Fact = ({ label, children, title }) => html`<div class="fact" title=${title}><dt>${label}</dt><dd>${children}</dd></div>`;

// One bar of several parts, with a legend that says the same in words.
export function Stack({ parts, total, label, format }) {
  const whole = total || parts.reduce((sum, part) => sum + part.value, 0) || 1;
  return html`<div class="stack">
    <div class="bar" role="img" aria-label=${`${label}: ${parts.map((part) => `${part.name} ${format(part.value)}`).join(", ")}`}>
      ${parts.map((part) => html`<span class=${`seg c${part.colour}`} style=${{ width: `${(100 * part.value) / whole}%` }}></span>`)}
    </div>
    <ul class="legend">
      ${parts.map((part) => html`<li><span class=${`dot c${part.colour}`} aria-hidden="true"></span>${part.name} <b>${format(part.value)}</b></li>`)}
    </ul>
  </div>`;
}

export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  useEffect(() => {
    dialog.current.showModal();
  }, []);
  return html`<dialog ref=${dialog} aria-labelledby="dialog-title" onCancel=${onClose} onClick=${(event) => event.target === dialog.current && onClose()}>
    <div class="dialog-body"><h2 id="dialog-title">${title}</h2>${children}</div>
  </dialog>`;
}

export function Confirm({ title, children, verb, danger, onClose, act }) {
  const [state, setState] = useState({ busy: false, error: "" });
  const go = async () => {
    setState({ busy: true, error: "" });
    try {
      await act();
      onClose();
    } catch (error) {
      setState({ busy: false, error: error.message });
    }
  };
  return html`<${Dialog} title=${title} onClose=${onClose}>
    ${children}
    ${state.error && html`<${Notice} tone="bad">${state.error}<//>`}
    <div class="dialog-foot">
      <button type="button" onClick=${onClose}>Cancel</button>
      <button type="button" class=${danger ? "danger" : "primary"} disabled=${state.busy} onClick=${go}>${state.busy ? "Working …" : verb}</button>
    </div>
  <//>`;
}

export function CopyButton({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: text, className: "off-screen" });
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="small" onClick=${copy}>${done ? "Copied" : label}</button>`;
}
