"use strict";
// The whole page: where it stands, what it shows, and the refresh.
(() => {
  const { html, render, useEffect, useState } = window.htmPreact;
  const { Ask, Codes, Columns, ErrorBox, HostServer, HttpServer, Overlay, Views, instant, records, told } =
    window.ResearchFlow;
  const LOOK_MS = 30_000;
  const FULL = { detail: "full" };

  /** The refresh button; a long refresh is asked after until it ends. */
  function Refresh({ server, onDone }) {
    const [state, setState] = useState(null);
    const [error, setError] = useState(null);
    const refresh = async () => {
      setError(null);
      setState({ words: "starting" });
      const heard = ({ progress, total, message }) =>
        setState({ words: message ?? "", share: total ? progress / total : undefined });
      try {
        let found = (await server.call("refresh_views", {}, heard)).payload;
        while (found.status === "running") {
          found = (await server.call("refresh_views", { run_id: found.run_id }, heard)).payload;
        }
        setState({ done: true, words: `${found.status}${found.anchor ? `, anchor ${found.anchor}` : ""}` });
        onDone();
      } catch (failed) {
        setState(null);
        setError(failed);
      }
    };
    const running = state && !state.done;
    return html`<div class="refresh">
      <button type="button" disabled=${running} onClick=${refresh}>Refresh</button>
      ${running && html`<progress aria-label="Refresh" max="1" value=${state.share}></progress>`}
      <span role="status" class="soft">${state?.words ?? ""}</span>
      ${error && html`<${ErrorBox} error=${error} />`}
    </div>`;
  }

  function Summary({ views }) {
    const built = views.filter((view) => view.data_as_of);
    if (!built.length) return html`<p class="soft">No view is built yet: press Refresh.</p>`;
    const oldest = built.map((view) => view.data_as_of).sort()[0];
    const pending = Math.max(...built.map((view) => view.pending ?? 0));
    return html`<p class="soft">
      ${`${built.length} views, complete up to ${instant(oldest)}`}${pending ? `, ${pending} changes waiting` : ""}
    </p>`;
  }

  function Page({ server, tools }) {
    const has = (name) => tools.some((tool) => tool.name === name);
    const [views, setViews] = useState([]);
    const [statistics, setStatistics] = useState(null);
    const [chosen, setChosen] = useState(null);
    const [error, setError] = useState(null);
    const look = async () => {
      try {
        setViews(records((await server.call("list_views", FULL)).payload));
        if (has("get_statistics")) setStatistics((await server.call("get_statistics", FULL)).payload);
        setError(null);
      } catch (failed) {
        setError(failed);
      }
    };
    useEffect(() => {
      look();
      const timer = setInterval(() => document.hidden || look(), LOOK_MS);
      return () => clearInterval(timer);
    }, []);
    return html`<header>
        <h1>ResearchFlow</h1>
        <${Summary} views=${views} />
        ${has("refresh_views") && html`<${Refresh} server=${server} onDone=${look} />`}
      </header>
      ${error && html`<${ErrorBox} error=${error} />`}
      <div class="columns">
        <aside>
          <${Views} views=${views} chosen=${chosen} onChoose=${setChosen} />
        </aside>
        <main>
          ${has("find_codes") && html`<${Codes} server=${server} />`}
          ${chosen && html`<${Columns} server=${server} view=${chosen} />`}
          ${statistics && html`<${Overlay} statistics=${statistics} />`}
          <${Ask} server=${server} view=${chosen} />
        </main>
      </div>`;
  }

  /** What a host's result tells, or why it tells nothing. */
  function orError(result) {
    try {
      return told(result);
    } catch (error) {
      return { error };
    }
  }

  /** In a host's frame: the answer that the host shows, to ask on from. */
  function App({ server, given, theme }) {
    return html`<main><${Ask} server=${server} given=${given} theme=${theme} /></main>`;
  }

  const root = document.getElementById("page");

  async function inPage() {
    const server = new HttpServer();
    try {
      const tools = await server.tools();
      root.replaceChildren();
      render(html`<${Page} server=${server} tools=${tools} />`, root);
    } catch (failed) {
      render(html`<${ErrorBox} error=${failed} />`, root);
    }
  }

  async function inHost() {
    const state = { tool: null, arguments: {}, given: null, theme: null };
    const show = () => {
      document.documentElement.dataset.theme = state.theme ?? "";
      render(html`<${App} server=${server} given=${state.given} theme=${state.theme} />`, root);
    };
    const server = new HostServer((method, params) => {
      if (method === "ui/notifications/tool-input") state.arguments = params.arguments ?? {};
      if (method === "ui/notifications/host-context-changed") state.theme = params.theme ?? state.theme;
      if (method === "ui/notifications/tool-result") {
        state.given = { tool: state.tool, arguments: state.arguments, ...orError(params) };
      }
      show();
    });
    show();
    const { hostContext = {} } = await server.open();
    state.theme = hostContext.theme ?? null;
    state.tool = hostContext.toolInfo?.tool?.name ?? null;
    show();
  }

  if (window.parent === window) inPage();
  else inHost();
})();
