"use strict";
// The box for a question, its answer and the picture of it.
(() => {
  const { html, useEffect, useState } = window.htmPreact;
  const { CopyAs, ErrorBox, Grid, Notes, Picture, Provenance } = window.ResearchFlow;
  const CHARTS = {
    bar: ["x", "y", "by"],
    line: ["x", "y", "by"],
    histogram: ["x", "by"],
    box: ["x", "y"],
    survival: ["x", "y", "by"],
  };
  const TOOLS = { typed: "query_view", sql: "query_sql" };
  const WORDS = { x: "x", y: "y", by: "series" };
  const CHART_NAMES = { survival: "survival (Kaplan–Meier)", box: "box plot" };

  /** What a question's text asks: a tool and its arguments, or a SyntaxError. */
  function parsed(mode, text) {
    if (mode === "sql") return { tool: TOOLS.sql, arguments: { sql: text } };
    return { tool: TOOLS.typed, arguments: JSON.parse(text) };
  }

  /** The question as the box shows it. */
  function shown({ tool, arguments: args }) {
    if (tool === TOOLS.sql && Object.keys(args).length === 1) return { mode: "sql", text: args.sql };
    return { mode: "typed", text: JSON.stringify(args, null, 2) };
  }

  /** As tall as the text, within bounds. */
  const linesOf = (text) => Math.min(18, Math.max(5, text.split("\n").length + 1));

  const firstQuestion = (view) => JSON.stringify({ view }, null, 2);
  const firstSql = (view) => `SELECT *\nFROM ${view}`;

  function DrawForm({ payload, busy, onDraw }) {
    const [chart, setChart] = useState("bar");
    const [chosen, setChosen] = useState({});
    const { columns, types = [] } = payload;
    useEffect(() => {
      const numbers = columns.filter((_name, place) => /integer|decimal|Int/.test(types[place]));
      const x = columns[0];
      setChosen({ x, y: numbers.find((name) => name !== x) ?? columns.at(-1), by: "" });
    }, [columns.join("\n")]);
    const submit = (event) => {
      event.preventDefault();
      const named = CHARTS[chart].filter((name) => chosen[name]);
      onDraw({ chart, ...Object.fromEntries(named.map((name) => [name, chosen[name]])) });
    };
    return html`<form class="draw" onSubmit=${submit}>
      <label>chart
        <select aria-label="chart" value=${chart} onChange=${(event) => setChart(event.target.value)}>
          ${Object.keys(CHARTS).map(
            (name) => html`<option value=${name}>${CHART_NAMES[name] ?? name}</option>`,
          )}
        </select>
      </label>
      ${CHARTS[chart].map(
        (name) => html`<label>${WORDS[name]}
          <select aria-label=${WORDS[name]} value=${chosen[name] ?? ""}
            onChange=${(event) => setChosen({ ...chosen, [name]: event.target.value })}>
            ${(name === "by" || (name === "x" && chart === "box")) && html`<option value="">–</option>`}
            ${columns.map((column) => html`<option value=${column}>${column}</option>`)}
          </select>
        </label>`,
      )}
      <button type="submit" disabled=${busy}>Draw</button>
    </form>`;
  }

  function Answer({ asked, payload, busy, onMore, onDraw }) {
    return html`<section class="answer" aria-label="Answer">
      <${Notes} payload=${payload} />
      <${Grid} payload=${payload} label="Rows of the answer" />
      <p class="soft rows">
        ${`${payload.rows.length.toLocaleString()} rows${payload.truncated ? "; more exist" : ""} `}
        ${payload.next_cursor &&
        html`<button type="button" disabled=${busy} onClick=${onMore}>Next page</button>`}
      </p>
      <${Provenance} payload=${payload} />
      <${CopyAs} asked=${asked} payload=${payload} />
      ${payload.rows.length > 0 &&
      html`<${DrawForm} payload=${payload} busy=${busy} onDraw=${onDraw} />`}
    </section>`;
  }

  /** `given` is a question with its answer that came from outside, such as from a host. */
  function Ask({ server, view, given, theme }) {
    const [mode, setMode] = useState("typed");
    const [texts, setTexts] = useState({ typed: firstQuestion("patient_simple"), sql: firstSql("patient_simple") });
    const [busy, setBusy] = useState(false);
    const [error, setError] = useState(null);
    const [answer, setAnswer] = useState(null);
    const [picture, setPicture] = useState(null);

    useEffect(() => {
      if (view) setTexts({ typed: firstQuestion(view), sql: firstSql(view) });
    }, [view]);
    useEffect(() => {
      if (!given) return;
      const question = given.tool === "draw" ? questionOf(given.arguments) : given;
      const { mode: kind, text } = shown(question);
      setMode(kind);
      setTexts((before) => ({ ...before, [kind]: text }));
      setError(given.error ?? null);
      setAnswer(given.payload ? { asked: question, payload: given.payload } : null);
      setPicture(given.specification ? given : null);
    }, [given]);

    const trying = async (work) => {
      setBusy(true);
      setError(null);
      try {
        await work();
      } catch (failed) {
        setError(failed);
      } finally {
        setBusy(false);
      }
    };
    const ask = (more = {}) =>
      trying(async () => {
        const question = parsed(mode, texts[mode]);
        const args = { detail: "full", ...question.arguments, ...more };
        setAnswer({ asked: question, ...(await server.call(question.tool, args)) });
        setPicture(null);
      });
    const draw = (how) =>
      trying(async () => {
        const { cursor: _cursor, ...query } = answer.asked.arguments;
        setPicture(await server.call("draw", { ...how, query, detail: "full" }));
      });
    const onKey = (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) ask();
    };
    return html`<section aria-labelledby="ask">
      <h2 id="ask">Ask</h2>
      <div class="modes" role="radiogroup" aria-label="Kind of question">
        ${Object.entries({ typed: "Typed question", sql: "SQL over views" }).map(
          ([kind, words]) => html`<label>
            <input type="radio" name="mode" checked=${mode === kind} onChange=${() => setMode(kind)} />
            ${words}
          </label>`,
        )}
      </div>
      <textarea class="question" spellcheck="false" rows=${linesOf(texts[mode])} aria-label="Question" value=${texts[mode]}
        onInput=${(event) => setTexts({ ...texts, [mode]: event.target.value })}
        onKeyDown=${onKey}></textarea>
      <p class="run">
        <button type="button" class="main" disabled=${busy} onClick=${() => ask()}>Ask</button>
        <span class="soft">or Ctrl+Enter</span>
        <span role="status" class="soft">${busy ? "asking …" : ""}</span>
      </p>
      ${error && html`<${ErrorBox} error=${error} />`}
      ${answer &&
      html`<${Answer} ...${answer} busy=${busy} onDraw=${draw}
        onMore=${() => ask({ cursor: answer.payload.next_cursor })} />`}
      ${picture &&
      html`<section aria-label="Picture">
        <${Notes} payload=${picture.payload} />
        <${Picture} specification=${picture.specification} png=${picture.png} theme=${theme} />
      </section>`}
    </section>`;
  }

  /** The question behind a picture. */
  function questionOf({ query }) {
    return { tool: query.sql ? TOOLS.sql : TOOLS.typed, arguments: query };
  }

  Object.assign(window.ResearchFlow, { Ask });
})();
