// Signing in with a key. The key goes to the gateway once; what stays is a cookie that no script can read.
import { html } from "htm/preact";
import { useEffect, useState } from "preact/hooks";
import { ask } from "./api.js";
import { forgetPoints } from "./live.js";
import { Notice } from "./parts.js";

export function SignIn({ why, onDone }) {
  const [key, setKey] = useState("");
  const [state, setState] = useState({ busy: false, error: "" });
  useEffect(forgetPoints, []);
  const submit = async (event) => {
    event.preventDefault();
    setState({ busy: true, error: "" });
    try {
      onDone(await ask("POST", "/session", { body: { key } }));
    } catch (error) {
      setState({ busy: false, error: error.message });
    }
  };
  return html`<main class="alone">
    <form class="card sign-in" onSubmit=${submit}>
      <img src="icon.svg" alt="" width="44" height="44" />
      <h1>lora-gateway</h1>
      <p class="note">Sign in with an API key of this gateway.</p>
      ${why && !state.error && html`<${Notice}>${why}<//>`}
      ${state.error && html`<${Notice} tone="bad">${state.error}<//>`}
      <label for="key">API key</label>
      <input id="key" type="password" autocomplete="current-password" spellcheck="false" required autofocus value=${key} onInput=${(event) => setKey(event.target.value)} />
      <button class="primary" disabled=${state.busy || !key.trim()}>${state.busy ? "Signing in …" : "Sign in"}</button>
      <p class="hint">No key yet? <code>lora-gateway keys create me --role admin</code> makes one.</p>
    </form>
  </main>`;
}
