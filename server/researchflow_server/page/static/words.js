"use strict";
// What numbers, ages and rows look like in words, and as text to take along.
(() => {
  const STEPS = [
    [86400 * 2, 86400, "days"],
    [3600 * 2, 3600, "hours"],
    [60 * 2, 60, "minutes"],
    [0, 1, "seconds"],
  ];

  /** Seconds in words, such as "3 hours". */
  function span(seconds) {
    const [, size, unit] = STEPS.find(([least]) => Math.abs(seconds) >= least);
    return `${Math.round(seconds / size)} ${unit}`;
  }

  /** An instant of the server, as the reader's clock shows it. */
  const instant = (text) =>
    text ? new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "";

  /** How long ago an instant was. */
  const ago = (text) => (text ? `${span((Date.now() - new Date(text)) / 1000)} ago` : "never");

  /** A cell as text; lists and elements as JSON. */
  const cell = (value) =>
    value === null || value === undefined
      ? ""
      : typeof value === "object"
        ? JSON.stringify(value)
        : String(value);

  /** Rows as CSV (RFC 4180); what a spreadsheet would compute is marked as text. */
  function csv(columns, rows) {
    const field = (value) => {
      let text = cell(value);
      if (/^[=@\t\r]/.test(text) || (/^[+-]/.test(text) && Number.isNaN(Number(text)))) {
        text = `'${text}`;
      }
      return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [columns, ...rows].map((row) => `${row.map(field).join(",")}\r\n`).join("");
  }

  /** Rows as objects by column name. */
  const records = (table) =>
    (table?.rows ?? []).map((row) =>
      Object.fromEntries(table.columns.map((name, place) => [name, row[place]])),
    );

  Object.assign(window.ResearchFlow, { span, instant, ago, cell, csv, records });
})();
