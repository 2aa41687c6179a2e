"use strict";
// The views with their freshness, the columns of the chosen one, the overlay and the code finder.
(() => {
  const { html, useEffect, useState } = window.htmPreact;
  const { ErrorBox, Grid, ago, instant, records } = window.ResearchFlow;

  function freshness(view) {
    if (!view.data_as_of) return html`<span class="badge bad">not built</span>`;
    if (view.set_aside) return html`<span class="badge bad">set aside</span>`;
    if (view.pending) return html`<span class="badge warn">${`${view.pending} waiting`}</span>`;
    return html`<span class="badge good">current</span>`;
  }

  function Views({ views, chosen, onChoose }) {
    return html`<section aria-labelledby="views">
      <h2 id="views">Views</h2>
      <ul class="views">
        ${views.map(
          (view) => html`<li key=${view.view}>
            <button type="button" aria-pressed=${view.view === chosen} onClick=${() => onChoose(view.view)}
              title=${view.description ?? ""}>
              <span class="name">${view.view}</span>
              ${freshness(view)}
              <span class="soft age" title=${instant(view.data_as_of)}>
                ${ago(view.data_as_of)}${view.dead_letters ? `, ${view.dead_letters} left out` : ""}
              </span>
            </button>
          </li>`,
        )}
      </ul>
    </section>`;
  }

  function Columns({ server, view }) {
    const [told, setTold] = useState(null);
    const [error, setError] = useState(null);
    useEffect(() => {
      let gone = false;
      setTold(null);
      setError(null);
      server.call("describe_view", { view }).then(
        ({ payload }) => gone || setTold(payload),
        (failed) => gone || setError(failed),
      );
      return () => {
        gone = true;
      };
    }, [view]);
    return html`<details class="panel">
      <summary>Columns of ${view}</summary>
      ${error && html`<${ErrorBox} error=${error} />`}
      ${told && html`<p class="soft">${told.description}</p>
        <${Grid} payload=${told} label=${`Columns of ${view}`} />`}
    </details>`;
  }

  /** What the speed layer holds: changes that no anchor has yet. */
  function Overlay({ statistics }) {
    const rows = records(statistics?.overlay);
    const total = rows.reduce((sum, row) => sum + row.entries, 0);
    return html`<details class="panel">
      <summary>${`Waiting changes: ${total.toLocaleString()}`}</summary>
      <p class="soft">Changes that live answers show already and the next anchor will hold.</p>
      ${statistics?.overlay && html`<${Grid} payload=${statistics.overlay} label="Waiting changes" />`}
    </details>`;
  }

  function Codes({ server }) {
    const [text, setText] = useState("");
    const [found, setFound] = useState(null);
    const [error, setError] = useState(null);
    const find = async (event) => {
      event.preventDefault();
      setError(null);
      try {
        setFound((await server.call("find_codes", { text })).payload);
      } catch (failed) {
        setError(failed);
      }
    };
    return html`<details class="panel">
      <summary>Find a code</summary>
      <form class="codes" onSubmit=${find}>
        <input type="search" aria-label="Words to find codes for" placeholder="high blood pressure"
          value=${text} onInput=${(event) => setText(event.target.value)} required />
        <button type="submit">Find</button>
      </form>
      ${error && html`<${ErrorBox} error=${error} />`}
      ${found && html`<${Grid} payload=${found} label="Codes found" />`}
    </details>`;
  }

  Object.assign(window.ResearchFlow, { Codes, Columns, Overlay, Views });
})();
