(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { dims, series, metrics } = data;
  const byId = (id) => document.getElementById(id);
  const number = (value) =>
    value === null ? "-" : Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en-US") : String(Number(value.toPrecision(4)));

  // position -> the rows there, one per series
  const cells = new Map();
  data.series_of.forEach((which, row) => {
    const key = dims.map((_, d) => data.at[d][row]).join();
    if (!cells.has(key)) cells.set(key, new Map());
    if (!cells.get(key).has(which)) cells.get(key).set(which, row); // of a plan's candidates the best
  });

  const place = dims.map((dim, d) => data.start[d]);
  const numeric = dims.map((dim, d) => d).filter((d) => dims[d].is_number);
  let along = numeric[0] ?? -1;
  let metric = 0;

  const rowsAt = (where) => cells.get(where.join()) ?? new Map();
  const value = (row, m) => (row === undefined ? null : data.values[m][row]);
  const spelled = (d, i) => (dims[d].is_number ? number(dims[d].values[i]) : dims[d].values[i]);

  const make = (tag, attributes, ...children) => {
    const isShape = ["svg", "g", "path", "line", "text", "circle"].includes(tag);
    const node = isShape ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, given] of Object.entries(attributes)) node.setAttribute(name, given);
    node.append(...children);
    return node;
  };
  const seriesNode = (tag, attributes, which, ...children) => {
    const node = make(tag, { ...attributes, class: "series" }, ...children);
    node.style.setProperty("--light", series[which].light);
    node.style.setProperty("--dark", series[which].dark);
    return node;
  };

  const ticks = (low, high, count) => {
    const raw = (high - low) / count || 1;
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((s) => s * power).find((s) => s >= raw);
    const found = [];
    for (let t = Math.ceil(low / step) * step; t <= high + 1e-9 * step; t += step) found.push(Number(t.toPrecision(12)));
    return found;
  };

  const chart = () => {
    const box = byId("chart");
    box.replaceChildren();
    if (along < 0) return;
    const narrow = matchMedia("(max-width: 760px)").matches;
    const [width, height, left, right, top, bottom] = narrow ? [360, 300, 48, 14, 12, 44] : [760, 400, 58, 120, 14, 46];
    const xs = dims[along].values, isLog = xs[0] > 0 && xs[xs.length - 1] / xs[0] > 8;
    const scale = (x) => (isLog ? Math.log(x) : x);
    const span = scale(xs[xs.length - 1]) - scale(xs[0]) || 1;
    const px = (i) => left + ((scale(xs[i]) - scale(xs[0])) / span) * (width - left - right);
    const lines = series.map((_, which) =>
      xs.map((_, i) => {
        const where = place.slice();
        where[along] = i;
        return value(rowsAt(where).get(which), metric);
      }));
    const known = lines.flat().filter((v) => v !== null);
    const high = known.length ? Math.max(...known) * 1.05 || 1 : 1;
    const low = Math.min(0, ...known);
    const py = (v) => height - bottom - ((v - low) / (high - low)) * (height - top - bottom);
    const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${metrics[metric].words} by ${dims[along].words}; the table has the numbers` });
    for (const t of ticks(low, high, 5)) {
      svg.append(make("line", { class: "grid", x1: left, x2: width - right, y1: py(t), y2: py(t) }));
      svg.append(make("text", { x: left - 8, y: py(t) + 4, "text-anchor": "end" }, number(t)));
    }
    let last = -Infinity;
    xs.forEach((x, i) => {
      if (px(i) - last < 34) return;
      last = px(i);
      svg.append(make("text", { x: px(i), y: height - bottom + 18, "text-anchor": "middle" }, number(x)));
    });
    svg.append(make("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, dims[along].words));
    svg.append(make("line", { class: "now", x1: px(place[along]), x2: px(place[along]), y1: top, y2: height - bottom }));
    const ends = [];
    lines.forEach((line, which) => {
      let path = "", pen = "M";
      line.forEach((v, i) => {
        if (v === null) { pen = "M"; return; }
        path += `${pen}${px(i).toFixed(1)} ${py(v).toFixed(1)}`;
        pen = "L";
      });
      if (!path) return;
      const drawn = { d: path, fill: "none", stroke: "currentColor", "stroke-width": 2.4, "stroke-dasharray": series[which].dash };
      svg.append(seriesNode("path", drawn, which));
      line.forEach((v, i) => {
        if (v === null) return;
        svg.append(seriesNode("text", { x: px(i), y: py(v) + 4, "text-anchor": "middle", style: "fill: currentColor" }, which, series[which].glyph));
      });
      const end = line.findLastIndex((v) => v !== null);
      ends.push({ which, y: py(line[end]) });
    });
    if (!narrow) {
      ends.sort((a, b) => a.y - b.y);
      ends.forEach((end, i) => { if (i && end.y - ends[i - 1].y < 15) end.y = ends[i - 1].y + 15; });
      for (const { which, y } of ends) {
        svg.append(make("text", { class: "name", x: width - right + 12, y: y + 4 }, `${series[which].glyph} ${series[which].short}`));
      }
    }
    box.append(svg);
  };

  const ranked = () => {
    const rows = rowsAt(place), sign = metrics[metric].higher ? -1 : 1;
    const known = series.map((_, which) => which).filter((which) => value(rows.get(which), metric) !== null);
    known.sort((a, b) => sign * (value(rows.get(a), metric) - value(rows.get(b), metric)));
    return { rows, known, others: series.map((_, w) => w).filter((w) => rows.has(w) && !known.includes(w)) };
  };

  const table = ({ rows, known, others }) => {
    const body = byId("rows");
    body.replaceChildren();
    [...known, ...others].forEach((which, rank) => {
      const name = make("td", { class: "words" });
      name.append(seriesNode("span", {}, which, series[which].glyph), ` ${series[which].label}`);
      const line = make("tr", { class: rank === 0 && known.length ? "best" : known.includes(which) ? "" : "absent" }, name);
      metrics.forEach((one, m) => {
        const row = rows.get(which), low = data.low[m]?.[row] ?? null, high = data.high[m]?.[row] ?? null;
        const cell = make("td", {}, number(value(row, m)));
        if (low !== null && high !== null) cell.title = `95 %: ${number(low)} to ${number(high)}`;
        line.append(cell);
      });
      body.append(line);
    });
  };

  const say = ({ rows, known }) => {
    const where = dims.map((dim, d) => `${dim.words} ${spelled(d, place[d])}`).join(", ");
    const best = known[0];
    byId("said").textContent = best === undefined
      ? `${where}: nothing was computed here, or nothing has an answer.`
      : `${where}: ${series[best].label} has the ${metrics[metric].higher ? "highest" : "lowest"} ${metrics[metric].words}, ${number(value(rows.get(best), metric))}.`;
  };

  const show = () => {
    const found = ranked();
    dims.forEach((dim, d) => {
      const control = byId(`dim-${d}`), words = spelled(d, place[d]);
      control.value = place[d];
      if (!dim.is_number) return;
      control.setAttribute("aria-valuetext", words);
      byId(`out-${d}`).textContent = words;
    });
    chart();
    table(found);
    say(found);
  };

  dims.forEach((dim, d) => byId(`dim-${d}`).addEventListener("input", (event) => {
    place[d] = Number(event.target.value);
    show();
  }));
  byId("metric").addEventListener("input", (event) => { metric = Number(event.target.value); show(); });
  byId("along")?.addEventListener("input", (event) => { along = Number(event.target.value); show(); });
  matchMedia("(max-width: 760px)").addEventListener("change", show);
  show();
  document.body.dataset.charts = "drawn";
})();
