"use strict";
// A picture by the same Vega-Lite specification that made the PNG, in the page's colours and width.
(() => {
  const { html, useEffect, useRef } = window.htmPreact;
  const SIDES_PX = 150;
  const NARROWEST_PX = 180;
  const WIDEST_PX = 720;
  const BAR_PX = 46;
  const NARROW_PX = 520;

  function colours(element) {
    const style = getComputedStyle(element);
    const of = (name) => style.getPropertyValue(name).trim();
    return { text: of("--text"), soft: of("--soft"), line: of("--line") };
  }

  /** The specification with the page's colours for text and lines. */
  function themed(specification, { text, soft, line }) {
    const config = structuredClone(specification.config ?? {});
    config.background = "transparent";
    Object.assign((config.axis ??= {}), {
      labelColor: soft, titleColor: soft, gridColor: line, domainColor: line, tickColor: line,
    });
    Object.assign((config.legend ??= {}), { labelColor: text, titleColor: text });
    Object.assign((config.title ??= {}), { color: text, subtitleColor: soft });
    Object.assign((config.header ??= {}), { labelColor: text });
    for (const style of Object.values((config.style ??= {}))) {
      style["fill" in style ? "fill" : "color"] = soft;
    }
    return { ...specification, config };
  }

  /** The specification as wide as there is room, its legend below where there is little. */
  function fitted(specification, room) {
    const narrow = room < NARROW_PX;
    const sides = narrow ? SIDES_PX / 2 : SIDES_PX;
    const most = Math.round(Math.min(WIDEST_PX, Math.max(NARROWEST_PX, room - sides)));
    const set = (part) => {
      if (part.width === undefined) return part;
      const wanted = part.width.step ? part.data.values.length * BAR_PX : most;
      return { ...part, width: Math.min(most, Math.max(NARROWEST_PX, wanted)) };
    };
    const whole = set(specification);
    if (narrow) {
      Object.assign((whole.config.legend ??= {}), { orient: "bottom", columns: 3 });
      whole.title = { ...whole.title, subtitle: whole.title.subtitle.flatMap(halved) };
    }
    return whole.vconcat ? { ...whole, vconcat: whole.vconcat.map(set) } : whole;
  }

  /** A line of the subtitle in parts that a phone shows. */
  const halved = (line) => line.match(/.{1,46}(?= |$)/g)?.map((part) => part.trim()) ?? [line];

  function Picture({ specification, png, theme }) {
    const frame = useRef(null);
    useEffect(() => {
      let view;
      let gone = false;
      const draw = async () => {
        const room = frame.current.clientWidth;
        const spec = fitted(themed(specification, colours(frame.current)), room);
        const options = { ast: true, actions: false, renderer: "svg", tooltip: false, defaultStyle: false };
        const drawn = await window.vegaEmbed(frame.current, spec, options);
        if (gone) drawn.finalize();
        else view = drawn;
      };
      draw();
      const dark = window.matchMedia("(prefers-color-scheme: dark)");
      dark.addEventListener("change", draw);
      return () => {
        gone = true;
        dark.removeEventListener("change", draw);
        view?.finalize();
      };
    }, [specification, theme]);
    return html`<figure class="picture">
      <div class="drawing" ref=${frame}></div>
      ${png &&
      html`<figcaption>
        <a href=${`data:image/png;base64,${png}`} download="picture.png">Save as PNG</a>
      </figcaption>`}
    </figure>`;
  }

  Object.assign(window.ResearchFlow, { Picture });
})();
