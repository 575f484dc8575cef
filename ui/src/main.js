// The page: who is signed in, which view is open, and what is known now.
import { html } from "htm/preact";
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, hold } from "./api.js";
import { useLive } from "./live.js";
import { Loading, Notice } from "./parts.js";
import { SignIn } from "./sign_in.js";
import { Batches } from "./views/batches.js";
import { Models } from "./views/models.js";
import { Overview } from "./views/overview.js";
import { Playground } from "./views/playground.js";
import { Requests } from "./views/requests.js";
import { Usage } from "./views/usage.js";

const VIEWS = [
  ["overview", "Overview", Overview],
  ["playground", "Playground", Playground],
  ["adapters", "Adapters", Models],
  ["requests", "Requests", Requests],
  ["batches", "Batches", Batches],
  ["usage", "Keys and limits", Usage],
];
const viewOf = () => {
  const name = location.hash.replace(/^#\/?/, "").split("?")[0];
  return VIEWS.some(([known]) => known === name) ? name : "overview";
};

function App() {
  const [session, setSession] = useState(null);
  const [lost, setLost] = useState("");
  const [theme, setTheme] = useState(() => localStorage.getItem("theme") ?? "system");
  useEffect(() => {
    if (theme === "system") document.documentElement.removeAttribute("data-theme");
    else document.documentElement.dataset.theme = theme;
    localStorage.setItem("theme", theme);
  }, [theme]);
  const enter = (given) => {
    hold(given.token);
    setSession(given);
  };
  const look = () => {
    setLost("");
    ask("GET", "/session").then(enter, (error) => setLost(error.message));
  };
  useEffect(look, []);
  if (lost)
    return html`<main class="alone"><${Notice} tone="bad" title="Not connected">${lost}<//><button type="button" onClick=${look}>Try again</button></main>`;
  if (!session) return html`<main class="alone"><${Loading} what="Connecting …" /></main>`;
  if (!session.signed_in) return html`<${SignIn} why=${session.why} onDone=${(told) => enter({ ...session, ...told })} />`;
  const leave = (why) => {
    hold("");
    setSession({ ...session, signed_in: false, why });
  };
  return html`<${Signed} session=${session} theme=${theme} setTheme=${setTheme} onSignedOut=${leave} />`;
}

function Signed({ session, theme, setTheme, onSignedOut }) {
  const [view, setView] = useState(viewOf);
  const [find, setFind] = useState("");
  const live = useLive(find, onSignedOut);
  const dark = useDark(theme);
  useEffect(() => {
    const turn = () => {
      setView(viewOf());
      setFind(""); // the field that shows it is Adapters' own
      document.getElementById("view")?.focus({ preventScroll: true });
      scrollTo(0, 0);
    };
    addEventListener("hashchange", turn);
    return () => removeEventListener("hashchange", turn);
  }, []);
  const signOut = async () => {
    await ask("DELETE", "/session").catch(() => {});
    onSignedOut("");
  };
  const [, title, View] = VIEWS.find(([name]) => name === view);
  useEffect(() => {
    document.title = `${title} · lora-gateway`;
    document.querySelector(".top nav [aria-current]").scrollIntoView({ block: "nearest", inline: "nearest" }); // on a phone not all fit
  }, [title]);
  return html`
    <a class="skip" href="#view" onClick=${(event) => (event.preventDefault(), document.getElementById("view").focus())}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="#/overview"><img src="icon.svg" alt="" width="26" height="26" />lora-gateway</a>
      <nav aria-label="Views">
        ${VIEWS.map(([name, label]) => html`<a href=${`#/${name}`} aria-current=${name === view ? "page" : undefined}>${label}</a>`)}
      </nav>
      <div class="who">
        <${State} live=${live} />
        <label class="theme"><span class="off-screen">Colours</span>
          <select value=${theme} onChange=${(event) => setTheme(event.target.value)}>
            <option value="system">System</option><option value="light">Light</option><option value="dark">Dark</option>
          </select>
        </label>
        ${session.keys && html`<span class="me" title=${session.tenant ? `${session.role} of ${session.tenant}` : session.role}>${session.name}</span><button type="button" class="small" onClick=${signOut}>Sign out</button>`}
      </div>
    </header>
    <main id="view" tabindex="-1">
      <h1 class=${view === "playground" ? "" : "off-screen"}>${title}</h1>
      ${live.lost && html`<${Notice} tone="bad" title="Disconnected.">${live.lost} ${live.now ? "What stands here is from before; it is tried again by itself." : ""}<//>`}
      ${live.now && !live.now.control_plane && !live.lost && html`<${Notice} tone="warn" title="The control plane is away.">Requests are served on; adapters and keys cannot be changed until it is back.<//>`}
      ${live.now ? html`<${View} live=${live} session=${session} theme=${dark} find=${find} setFind=${setFind} />` : !live.lost && html`<${Loading} what="Loading …" />`}
    </main>
    <footer class="foot">lora-gateway ${session.version} · <a href="/openapi.json">API</a> · <a href="licenses.txt">Licences</a></footer>`;
}

function State({ live }) {
  const engines = live.now?.engines ?? [];
  const ready = engines.filter((engine) => engine.state === "ready").length;
  const [tone, text] = live.lost
    ? ["bad", "disconnected"]
    : !live.now
      ? ["quiet", "loading"]
      : ready
        ? ["good", engines.length > 1 ? `${ready} of ${engines.length} ready` : "ready"]
        : engines.some((engine) => engine.state === "failed")
          ? ["bad", "failed"]
          : ["busy", engines[0]?.state === "starting" ? "starting" : "cold"];
  return html`<span class=${`pulse ${tone}`} role="status"><span aria-hidden="true"></span>${text}</span>`;
}

function useDark(theme) {
  const query = matchMedia("(prefers-color-scheme: dark)");
  const [dark, setDark] = useState(query.matches);
  useEffect(() => {
    const turn = () => setDark(query.matches);
    query.addEventListener("change", turn);
    return () => query.removeEventListener("change", turn);
  }, []);
  return theme === "system" ? (dark ? "dark" : "light") : theme;
}

render(html`<${App} />`, document.getElementById("page"));
