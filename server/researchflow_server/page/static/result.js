"use strict";
// An answer: what is wrong with it, its rows, its date and provenance, and ways to take it along.
(() => {
  const { html, useState } = window.htmPreact;
  const { cell, csv, instant, span } = window.ResearchFlow;
  const NUMBERS = new Set(["decimal", "integer", "integer64", "positiveInt", "unsignedInt"]);

  function ErrorBox({ error }) {
    const parts = error.parts ?? { code: "page_error", message: String(error) };
    return html`<div class="box bad" role="alert">
      <strong>${parts.message}</strong>
      ${parts.hint && html`<p>${parts.hint}</p>`}
      ${parts.allowed?.length > 0 && html`<p class="soft">allowed: ${parts.allowed.join(", ")}</p>`}
      <p class="soft">${parts.code}${parts.field ? ` in ${parts.field}` : ""}</p>
    </div>`;
  }

  /** What the reader of an answer must know before its numbers. */
  function Notes({ payload }) {
    const notes = [
      ...(payload.degradations ?? []).map((one) => one.message),
      ...(payload.warnings ?? []),
    ];
    if (!notes.length) return null;
    return html`<ul class="box warn" aria-label="Warnings">
      ${notes.map((note) => html`<li>${note}</li>`)}
    </ul>`;
  }

  function Provenance({ payload }) {
    const { speed } = payload;
    const facts = [
      ["anchor", payload.anchor],
      ["data as of", instant(payload.data_as_of)],
      ["freshness", payload.freshness],
      ["staleness", payload.staleness_s == null ? null : span(payload.staleness_s)],
      ["newer changes merged", speed?.entries],
      ["route", payload.route],
      ["computed in", payload.took_ms == null ? null : `${payload.took_ms} ms`],
    ].filter(([, value]) => value !== null && value !== undefined && value !== "");
    return html`<dl class="facts" aria-label="Provenance">
      ${facts.map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}
    </dl>`;
  }

  function Grid({ payload, label }) {
    const { columns, rows, types = [] } = payload;
    if (!rows.length) return html`<p class="soft">No rows.</p>`;
    const isNumber = (place) => NUMBERS.has(types[place]) || typeof rows[0][place] === "number";
    const kinds = columns.map((_name, place) => (isNumber(place) ? "number" : ""));
    return html`<div class="scroll" tabindex="0" role="region" aria-label=${label}>
      <table>
        <thead>
          <tr>${columns.map((name, place) => html`<th scope="col" class=${kinds[place]}>${name}</th>`)}</tr>
        </thead>
        <tbody>
          ${rows.map(
            (row) => html`<tr>
              ${row.map((value, place) =>
                value === null
                  ? html`<td class="none">–</td>`
                  : html`<td class=${kinds[place]}>${cell(value)}</td>`,
              )}
            </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }

  /** Buttons that put the answer or its question on the clipboard, or show it where there is none. */
  function CopyAs({ asked, payload }) {
    const [copied, setCopied] = useState({});
    const forms = {
      "tool call": () => JSON.stringify({ name: asked.tool, arguments: asked.arguments }, null, 2),
      ...(asked.arguments.sql ? { SQL: () => sqlOf(asked.arguments) } : {}),
      CSV: () => csv(payload.columns, payload.rows),
    };
    const copy = async (form) => {
      const text = forms[form]();
      try {
        await navigator.clipboard.writeText(text);
        setCopied({ form });
      } catch {
        setCopied({ form, text });
      }
    };
    return html`<div class="copies">
      <span class="soft">Copy as</span>
      ${Object.keys(forms).map(
        (form) => html`<button type="button" onClick=${() => copy(form)}>${form}</button>`,
      )}
      <span role="status" class="soft">${copied.form && !copied.text ? `${copied.form} copied` : ""}</span>
      ${copied.text &&
      html`<textarea readonly rows="6" aria-label=${`As ${copied.form}, to copy`}
        onFocus=${(event) => event.target.select()}>${copied.text}</textarea>`}
    </div>`;
  }

  function sqlOf({ sql, parameters }) {
    const named = Object.entries(parameters ?? {});
    const lines = named.map(([name, value]) => `-- :${name} = ${JSON.stringify(value)}`);
    return [...lines, sql].join("\n");
  }

  Object.assign(window.ResearchFlow, { CopyAs, ErrorBox, Grid, Notes, Provenance });
})();
