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

  const draw = (width) => {
    plots.forEach((plot, i) => {
      const { data, layout } = inScheme(figures[i], prefersDark.matches && !width);
      if (isPhone.matches && !width) {  // the key above names the lines: leave the width to them
        layout.annotations = (layout.annotations ?? []).filter((a) => a.name !== "direct-label");
        layout.margin = { ...layout.margin, r: 14 };
      }
      window.Plotly.react(plot, data, { ...layout, width: width ?? undefined, autosize: !width }, config);
    });
  };
  draw();
  prefersDark.addEventListener("change", () => draw());
  isPhone.addEventListener("change", () => draw());
  addEventListener("beforeprint", () => draw(660));
  addEventListener("afterprint", () => draw());
  document.body.dataset.charts = "drawn";
})();
