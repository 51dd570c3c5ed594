"use strict";

// Clusters: sort and search the cards that are in the page already.
(() => {
  const list = document.getElementById("cards");
  if (!list) return;
  const sort = document.getElementById("sort");
  const search = document.getElementById("search");
  const buttons = document.querySelectorAll("[data-sort]");
  const cards = [...list.children];
  const members = JSON.parse(document.getElementById("members-data").textContent);

  function arrange() {
    const [key, sign] = sort.value.split(" ");
    const value = (card) => Number(card.dataset[key]);
    const last = (card) => card.dataset.number < 0; // the images in no cluster
    cards.sort(
      (a, b) =>
        last(a) - last(b) ||
        sign * (value(a) - value(b)) ||
        a.dataset.number - b.dataset.number
    );
    list.append(...cards);
    for (const button of buttons) {
      button.setAttribute("aria-pressed", button.dataset.sort === sort.value);
    }
  }

  function filter() {
    const wanted = search.value.trim().toLowerCase().replace(/^(cluster )?#? */, "");
    let shown = 0;
    for (const card of cards) {
      const { number, classes } = card.dataset;
      const named = (name) => name.toLowerCase().includes(wanted);
      card.hidden = number !== wanted && !named(classes) && !members.of[number].some(named);
      shown += !card.hidden && number >= 0;
    }
    const all = cards.filter((card) => card.dataset.number >= 0).length;
    document.getElementById("card-status").value = `${shown} of ${all} clusters`;
  }

  sort.addEventListener("change", arrange);
  search.addEventListener("input", filter);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      sort.value = button.dataset.sort;
      arrange();
    });
  }
  // A link to a cluster that the search has hidden shows it.
  addEventListener("hashchange", () => {
    const target = document.getElementById(location.hash.slice(1));
    if (target && target.hidden) {
      search.value = "";
      filter();
      target.scrollIntoView();
    }
  });

  // All images of a cluster: those pictured in the page, then the files themselves, then names.
  const dialog = document.getElementById("members");
  const grid = dialog.querySelector(".sheet");
  const step = 200;

  function cell(card, number, place) {
    const name = members.of[number][place];
    const item = document.createElement("li");
    item.title = name;
    const { columns, rows, pictured } = card.querySelector(".sheet").dataset;
    if (place < pictured) {
      const picture = document.createElement("span");
      picture.className = "cell";
      const part = (at, count) => `${(100 * at) / Math.max(count - 1, 1)}%`;
      picture.style.setProperty("--x", part(place % columns, columns));
      picture.style.setProperty("--y", part(Math.floor(place / columns), rows));
      item.append(picture);
    } else if (members.originals) {
      const picture = new Image();
      picture.loading = "lazy";
      picture.alt = "";
      picture.addEventListener("error", () => picture.remove());
      picture.src = members.originals + name.split("/").map(encodeURIComponent).join("/");
      item.append(picture);
    }
    const text = document.createElement("span");
    text.className = "name";
    text.textContent = name;
    item.append(text);
    return item;
  }

  function open(button) {
    const number = button.dataset.members;
    const card = button.closest("li");
    const names = members.of[number];
    const size = Number(card.dataset.size);
    document.getElementById("members-title").textContent =
      `${card.querySelector("h3").textContent}: ${size} image${size === 1 ? "" : "s"}`;
    document.getElementById("members-note").textContent =
      "The nearest to the middle of the cluster come first." +
      (names.length < size ? ` The first ${names.length} are listed; clusters.csv has all.` : "");
    grid.setAttribute("style", card.querySelector(".sheet").getAttribute("style"));
    grid.replaceChildren();
    const more = () => {
      const from = grid.children.length;
      const to = Math.min(from + step, names.length);
      for (let i = from; i < to; i++) grid.append(cell(card, number, i));
    };
    dialog.onscroll = () => {
      if (dialog.scrollTop + dialog.clientHeight > dialog.scrollHeight - 600) more();
    };
    more();
    dialog.showModal();
    dialog.scrollTop = 0;
  }

  for (const button of document.querySelectorAll("[data-members]")) {
    button.hidden = false;
    button.addEventListener("click", () => open(button));
  }
  document.getElementById("card-controls").hidden = false;
  arrange();
  filter();
})();

// The map: points or images on a canvas, by mouse, touch and keyboard.
(() => {
  const data = JSON.parse(document.getElementById("map-data").textContent);
  if (!data) return;
  const count = data.x.length;
  const area = document.getElementById("map-area");
  const canvas = document.getElementById("map-canvas");
  const context = canvas.getContext("2d");
  const tip = document.getElementById("map-tip");
  const groupBy = document.getElementById("map-group");
  const pick = document.getElementById("map-pick");
  const style = document.getElementById("map-draw");
  const status = document.getElementById("map-status");
  const margin = 24;
  const sprites = new Image();
  let current = -1;
  const across = Math.max(...data.x);
  const down = Math.max(...data.y); // one of the two is 10,000
  let size = 0; // its width
  let height = 0;

  const group = () => data.groups[groupBy ? groupBy.value : 0];
  const picked = () => (pick && pick.value !== "" ? Number(pick.value) : -1);
  const offered = (i) => picked() < 0 || group().of[i] === picked();
  const unit = () => (size - 2 * margin) / 1e4;
  const spot = (i) => [
    size / 2 + unit() * (data.x[i] - across / 2),
    height / 2 + unit() * (data.y[i] - down / 2),
  ];
  const describe = (i) =>
    [data.names[i], ...data.groups.map((each) => each.names[each.of[i]])].join(", ");

  function drawSprite(target, i, x, y, side) {
    const row = Math.floor(i / data.columns);
    const column = i % data.columns;
    const from = data.side;
    target.drawImage(sprites, column * from, row * from, from, from, x, y, side, side);
  }

  function drawNames(shown) {
    const members = shown.names.map(() => []);
    shown.of.forEach((g, i) => members[g].push(i));
    const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
    const taken = [];
    // The largest first: a name that would lie on another's is left out.
    const order = [...members.keys()].sort((a, b) => members[b].length - members[a].length);
    for (const g of order) {
      const at = members[g].map(spot);
      const half = context.measureText(shown.names[g]).width / 2 + 3;
      const x = Math.max(half, Math.min(size - half, median(at.map((p) => p[0]))));
      const y = median(at.map((p) => p[1]));
      if (taken.some((t) => Math.abs(t.x - x) < t.half + half && Math.abs(t.y - y) < 18)) continue;
      taken.push({ x, y, half });
      context.strokeText(shown.names[g], x, y);
      context.fillText(shown.names[g], x, y);
    }
  }

  function draw() {
    const computed = getComputedStyle(area);
    const colours = Object.fromEntries(
      ["page", "ink", "rule", "blue"].map((name) => [name, computed.getPropertyValue(`--${name}`)])
    );
    const shown = group();
    const images = style.value === "images";
    const side = Math.max(10, Math.min(32, (0.9 * size) / Math.sqrt(count)));
    context.clearRect(0, 0, size, height);
    // What is picked out is drawn last, above the rest.
    for (const above of [false, true]) {
      for (let i = 0; i < count; i++) {
        if (offered(i) !== above) continue;
        const [x, y] = spot(i);
        if (images && above) {
          if (shown && shown.names.length <= 10) {
            context.fillStyle = shown.colours[shown.of[i]];
            context.fillRect(x - side / 2 - 1, y - side / 2 - 1, side + 2, side + 2);
          }
          drawSprite(context, i, x - side / 2, y - side / 2, side);
          continue;
        }
        context.fillStyle = !above ? colours.rule : shown ? shown.colours[shown.of[i]] : colours.blue;
        context.beginPath();
        context.arc(x, y, size / 250 + 0.5, 0, 7);
        context.fill();
      }
    }
    context.font = "600 14px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 4;
    context.strokeStyle = colours.page;
    context.fillStyle = colours.ink;
    if (shown && shown.names.length <= 20 && picked() < 0) drawNames(shown);
    if (current >= 0) {
      context.lineWidth = 3;
      context.strokeStyle = colours.ink;
      context.beginPath();
      context.arc(...spot(current), images ? side : 8, 0, 7);
      context.stroke();
    }
  }

  function choose(i) {
    if (i === current) return;
    current = i;
    tip.hidden = i < 0;
    if (i >= 0) {
      const small = tip.querySelector("canvas").getContext("2d");
      small.clearRect(0, 0, data.side, data.side);
      drawSprite(small, i, 0, 0, data.side);
      tip.querySelector("span").textContent = describe(i);
      const [x, y] = spot(i);
      const { offsetWidth: width, offsetHeight: height } = tip;
      const left = x < size / 2 ? x + 16 : x - width - 16;
      const top = y < height / 2 ? y + 16 : y - height - 16;
      tip.style.transform = `translate(${left}px, ${top}px)`;
    }
    draw();
  }

  // The offered point of the lowest cost, a function of its offset from (x, y); -1 for none.
  function best(x, y, cost) {
    let found = -1;
    let lowest = Infinity;
    for (let i = 0; i < count; i++) {
      if (!offered(i)) continue;
      const [px, py] = spot(i);
      const value = cost(px - x, py - y, i);
      if (value < lowest) [found, lowest] = [i, value];
    }
    return found;
  }

  function point(event) {
    const box = canvas.getBoundingClientRect();
    const reach = event.pointerType === "mouse" ? 16 : 32;
    choose(
      best(event.clientX - box.left, event.clientY - box.top, (dx, dy) => {
        const distance = Math.hypot(dx, dy);
        return distance < reach ? distance : Infinity;
      })
    );
  }

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  function walk(event) {
    if (event.key === "Escape") {
      choose(-1);
      status.textContent = "";
    }
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    const towards = (dx, dy, i) => {
      const ahead = dx * step[0] + dy * step[1];
      const aside = Math.abs(dx * step[1]) + Math.abs(dy * step[0]);
      return i !== current && ahead > 0 && aside <= ahead ? Math.hypot(dx, dy) : Infinity;
    };
    const next =
      current < 0 ? best(size / 2, height / 2, Math.hypot) : best(...spot(current), towards);
    if (next >= 0) choose(next);
    status.textContent =
      next < 0
        ? "No point further this way."
        : `Point ${next + 1} of ${count}: ${describe(next)}`;
  }

  function offerGroup() {
    const shown = group();
    if (!shown) return;
    pick.replaceChildren(new Option(`any ${shown.title}`, ""));
    [...shown.names.keys()]
      .sort((a, b) => shown.names[a].localeCompare(shown.names[b], "en", { numeric: true }))
      .forEach((g) => pick.add(new Option(shown.names[g], g)));
    document.getElementById("map-legend").textContent =
      shown.names.length <= 10
        ? `Each ${shown.title} has its colour; its name stands at the median of its points.`
        : `${shown.names.length} ${shown.title}s are too many to tell apart by colour: those that ` +
          `have much in common look alike. Pick one out to see where it lies.`;
    choose(-1);
    draw();
  }

  function fit() {
    size = canvas.clientWidth;
    height = Math.max(size / 2, 2 * margin + unit() * down);
    const scale = devicePixelRatio || 1;
    canvas.style.aspectRatio = `${size} / ${height}`;
    canvas.width = Math.round(size * scale);
    canvas.height = Math.round(height * scale);
    context.setTransform(scale, 0, 0, scale, 0, 0);
    draw();
  }

  area.hidden = false;
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && choose(-1));
  canvas.addEventListener("keydown", walk);
  if (groupBy) {
    groupBy.addEventListener("change", offerGroup);
    pick.addEventListener("change", () => {
      choose(-1);
      draw();
    });
  }
  style.addEventListener("change", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  sprites.addEventListener("load", draw);
  sprites.src = data.sprites;
  offerGroup();
  new ResizeObserver(fit).observe(canvas);
})();
