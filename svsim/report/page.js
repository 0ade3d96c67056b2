(async () => {
  const read = (id) => document.getElementById(id).textContent;
  const plots = [...document.querySelectorAll(".plot")];
  const give_up = (why) => {
    document.getElementById("no-charts").hidden = false;
    for (const plot of plots) plot.hidden = true;
    console.warn("charts: " + why);
  };

  // plotly.js is packed with gzip: a third of its size, and nothing to fetch.
  if (!("DecompressionStream" in window)) return give_up("no DecompressionStream");
  const packed = Uint8Array.from(atob(read("plotly")), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(unpacked).text();
  document.head.append(script);
  if (!window.Plotly) return give_up("plotly.js did not load");

  const { dark, figures } = JSON.parse(read("figures"));
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isPhone = matchMedia("(max-width: 640px)");
  const config = { responsive: true, displaylogo: false, modeBarButtons: [["toImage"]], showTips: false };

  const inScheme = (figure, isDark) =>
    JSON.parse(isDark ? figure.replace(/#[0-9a-f]{6}/g, (colour) => dark[colour] ?? colour) : figure);

  // On phones and in narrow print columns the keys name the lines, and the width is left to them.
  const narrowed = (layout) => ({
    ...layout,
    annotations: (layout.annotations ?? []).filter((a) => a.name !== "direct-label"),
    margin: { ...layout.margin, r: 14 },
  });
  const printed = (layout, plot) => {
    const isAlone = plot.closest(".panels").children.length === 1;
    const height = Math.min(layout.height, 740);  // a page holds the longest figure
    return { ...(isAlone ? layout : narrowed(layout)), width: isAlone ? 670 : 325, height, autosize: false };
  };

  // Methods picked in a key stand out in all charts, until they are picked again.
  const entries = [...document.querySelectorAll(".key.methods li")];
  const picked = new Set();
  const methodOf = (trace) => trace.legendgroup ?? (trace.type === "scatter" ? trace.name : undefined);
  const isFaint = (trace) => picked.size > 0 && methodOf(trace) && !picked.has(methodOf(trace));
  const pick = (method) => {
    picked.delete(method) || picked.add(method);
    for (const entry of entries) entry.setAttribute("aria-pressed", picked.has(entry.dataset.method));
    draw();
  };
  for (const entry of entries) {
    entry.addEventListener("click", () => pick(entry.dataset.method));
    entry.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      pick(entry.dataset.method);
    });
  }

  const draw = (onPaper = false) => {
    plots.forEach((plot, i) => {
      const { data: traces, layout } = inScheme(figures[i], prefersDark.matches && !onPaper);
      const data = traces.map((trace) => (isFaint(trace) ? { ...trace, opacity: 0.08 } : trace));
      const onScreen = { ...(isPhone.matches ? narrowed(layout) : layout), autosize: true };
      window.Plotly.react(plot, data, onPaper ? printed(layout, plot) : onScreen, config);
    });
  };
  draw();
  prefersDark.addEventListener("change", () => draw());
  isPhone.addEventListener("change", () => draw());
  addEventListener("beforeprint", () => draw(true));
  addEventListener("afterprint", () => draw());
  document.body.dataset.charts = "drawn";
})();
