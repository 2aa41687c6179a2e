"use strict";
// Calls the server's tools: over HTTP where the server shows this page, through the host where the
// page is an MCP App in its frame. Both give `call(tool, arguments, onProgress)`.
(() => {
  const PROTOCOL = "2026-07-28";
  const APP_PROTOCOL = "2026-01-26";
  const INFO = { name: "researchflow-page", version: "1" };
  const FIELD = "io.modelcontextprotocol/";

  /** A call that failed: the tool's own error, or what kept it from being answered. */
  class CallError extends Error {
    constructor(parts) {
      super(parts.message);
      this.parts = parts;
    }
  }

  const unreachable = (why) =>
    new CallError({ code: "unreachable", message: why, hint: "is the server running? try again" });

  /** A tool's result in the page's words; a failed one is thrown. */
  function told(result) {
    const payload = result.structuredContent ?? {};
    if (result.isError) {
      throw new CallError(payload.error ?? { code: "tool_error", message: "the call failed" });
    }
    const image = (result.content ?? []).find((part) => part.type === "image");
    const specification = result._meta?.["researchflow/vega-lite"];
    return { payload, specification, png: image?.data };
  }

  /** The messages of a response, as they come, whether it is one or a stream of them. */
  async function* messages(response) {
    if (!(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
      yield await response.json();
      return;
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const events = (rest + value.replaceAll("\r\n", "\n")).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        const lines = event.split("\n").filter((line) => line.startsWith("data:"));
        const text = lines.map((line) => line.slice(5)).join("\n").trim();
        if (text) yield JSON.parse(text);
      }
    }
  }

  class HttpServer {
    #ids = 0;

    async request(method, params, onProgress) {
      const id = ++this.#ids;
      const meta = {
        [`${FIELD}protocolVersion`]: PROTOCOL,
        [`${FIELD}clientInfo`]: INFO,
        [`${FIELD}clientCapabilities`]: {},
        ...(onProgress ? { progressToken: id } : {}),
      };
      let response;
      try {
        response = await fetch("mcp", {
          method: "POST",
          headers: {
            "content-type": "application/json",
            accept: "application/json, text/event-stream",
            "mcp-protocol-version": PROTOCOL,
            "mcp-method": method,
            "mcp-name": params.name ?? "",
          },
          body: JSON.stringify({ jsonrpc: "2.0", id, method, params: { ...params, _meta: meta } }),
        });
      } catch {
        throw unreachable("the server does not answer");
      }
      if (!response.ok && response.status !== 400) {
        throw unreachable(`the server answered ${response.status}`);
      }
      for await (const message of messages(response)) {
        if (message.method === "notifications/progress") onProgress?.(message.params);
        if (message.error) throw unreachable(message.error.message);
        if (message.id === id) return message.result;
      }
      throw unreachable("the answer broke off");
    }

    async tools() {
      return (await this.request("tools/list", {})).tools;
    }

    async call(name, args, onProgress) {
      return told(await this.request("tools/call", { name, arguments: args }, onProgress));
    }
  }

  class HostServer {
    #ids = 0;
    #waiting = new Map();
    #heard;

    /** `heard(method, params)` is told what the host notifies. */
    constructor(heard) {
      this.#heard = heard;
      window.addEventListener("message", (event) => {
        if (event.source === window.parent) this.#take(event.data);
      });
    }

    async open() {
      const opened = await this.request("ui/initialize", {
        protocolVersion: APP_PROTOCOL,
        appInfo: INFO,
        appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
      });
      this.#send({ method: "ui/notifications/initialized", params: {} });
      new ResizeObserver(() => {
        const { offsetWidth: width, offsetHeight: height } = document.body;
        this.#send({ method: "ui/notifications/size-changed", params: { width, height } });
      }).observe(document.body);
      return opened;
    }

    request(method, params) {
      const id = ++this.#ids;
      const answered = new Promise((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
      this.#send({ id, method, params });
      return answered;
    }

    async call(name, args) {
      return told(await this.request("tools/call", { name, arguments: args }));
    }

    #send(message) {
      window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
    }

    #take(message) {
      if (message?.jsonrpc !== "2.0") return;
      const waiting = message.method ? undefined : this.#waiting.get(message.id);
      if (waiting) {
        this.#waiting.delete(message.id);
        if (message.error) waiting.reject(unreachable(message.error.message ?? "the host refused"));
        else waiting.resolve(message.result);
      } else if (message.method && message.id !== undefined) {
        this.#send({ id: message.id, result: {} });
      } else if (message.method) {
        this.#heard(message.method, message.params ?? {});
      }
    }
  }

  window.ResearchFlow = { CallError, HttpServer, HostServer, told };
})();
