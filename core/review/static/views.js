// What opens over the grid: loupe, comparison, forms, help. Each shows the pictures that `desk` (review.js) has in focus.
"use strict";

(() => {
  const WORDS = { approved: "✓ approved", rejected: "✕ rejected", none: "not reviewed" };
  const KEYS = [
    ["← ↑ ↓ →, h j k l", "move; with Shift select; Home, End, Page Up, Page Down"],
    ["P, X, U", "approve, reject, clear the verdict, and go to the next"],
    ["1 – 5, 0", "stars, none"],
    ["Space, Enter", "loupe"],
    ["Z", "100 % in the loupe"],
    ["C", "compare the 2 to 6 selected; or this one with what was made in its place, or with the next"],
    ["R", "ask for another picture of the same prompt"],
    ["E", "ask for a picture of an edited prompt"],
    ["N", "note why"],
    ["Ctrl Z", "undo"],
    ["Ctrl or Shift click, Ctrl A", "select; Esc selects nothing"],
    ["/", "search prompts"],
    ["F", "filter"],
    ["?", "this list"],
  ];

  /** An element with properties and children; texts are texts, never markup. */
  function make(name, properties = {}, ...children) {
    const { dataset, attributes, ...rest } = properties;
    const element = Object.assign(document.createElement(name), rest);
    Object.assign(element.dataset, dataset || {});
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  /** A new id. `crypto.randomUUID` is only there over HTTPS and on this machine. */
  function newId() {
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  const byId = (id) => document.getElementById(id);
  const stars = (count) => "★".repeat(count) + "☆".repeat(5 - count);
  const dollars = (value) => (value === null || value === undefined ? "" : `$${Number(value).toFixed(4).replace(/0{1,2}$/, "")}`);

  function show(value) {
    if (value === null || value === undefined || value === "") return "";
    if (typeof value !== "object") return String(value);
    return Object.entries(value).map(([name, one]) => `${name}: ${typeof one === "object" ? JSON.stringify(one) : one}`).join("\n");
  }

  function facts(row) {
    const rewritten = row.source_prompt && row.source_prompt !== row.prompt;
    const lines = [
      [rewritten ? `prompt, rewritten by ${row.rewritten_by || "a model"}` : "prompt", row.prompt],
      ["prompt as written", rewritten ? row.source_prompt : ""],
      ["prompt as revised by the provider", row.revised_prompt],
      ["flags", (row.flags || []).join(", ")],
      ["duplicates", row.duplicate_group ? `group ${row.duplicate_group.slice(0, 12)}` : ""],
      ["verdict of", row.reviewer],
      ["reason", row.review_reason],
      ["note", row.review_note],
      ["model", row.model],
      ["parameters", show(row.parameters)],
      ["seed", row.seed],
      ["size", row.width ? `${row.width} × ${row.height}` : ""],
      ["cost", dollars(row.cost_usd)],
      ["source", row.source_file ? `${row.source_file}, line ${row.source_line}` : ""],
      ["row", show(row.source_row)],
      ["edition", row.edition],
      ["tags", show(row.tags)],
      ["made from", (row.inputs || []).map((one) => `${one.field}: ${one.sha256.slice(0, 16)}…`).join("\n")],
      ["made in place of", row.parent_image_id],
      ["revision", row.revision > 1 ? row.revision : ""],
      ["asked for", row.asked],
      ["replaced by", (row.replaced_by || []).join("\n")],
      ["run", row.run_id],
      ["image", row.image_id],
      ["stored at", row.uri],
    ];
    const list = make("dl");
    for (const [name, value] of lines) {
      if (value) list.append(make("dt", {}, name), make("dd", {}, String(value)));
    }
    return list;
  }

  /** A picture that says so where it cannot be shown. */
  function picture(desk, row, alt) {
    const image = make("img", { alt, draggable: false });
    image.addEventListener("error", async () => {
      const problem = make("p", { className: "problem" }, "This picture cannot be shown.");
      image.replaceWith(problem);
      problem.textContent = `This picture cannot be shown: ${await desk.source.problem(row)}`;
    });
    image.src = desk.source.picture(row);
    return image;
  }

  function closer(dialog) {
    return make("button", { type: "button", className: "close", onclick: () => dialog.close(), attributes: { "aria-label": "Close" } }, "✕");
  }

  class Loupe {
    constructor(desk) {
      this.desk = desk;
      this.dialog = byId("loupe");
      this.full = false;
      this.dialog.addEventListener("close", () => desk.focusGrid());
    }

    get open() {
      return this.dialog.open;
    }

    show() {
      this.full = false;
      if (!this.open) this.dialog.showModal();
      this.draw();
    }

    async draw() {
      const { desk, dialog } = this;
      const index = desk.grid.current;
      const row = await desk.rowAt(index);
      if (!this.open || desk.grid.current !== index) return;
      if (!row) {
        dialog.replaceChildren(closer(dialog), make("p", { className: "problem" }, "This picture is not known any more."));
        return;
      }
      if (this.shown !== row.image_id || !dialog.firstChild) {
        this.shown = row.image_id;
        this.stage = make("div", { className: "stage", tabIndex: 0, attributes: { role: "region", "aria-label": "Picture" } }, picture(desk, row, row.prompt));
        this.state = make("p", { className: "state" });
        const about = make("div", { className: "facts", tabIndex: 0, attributes: { role: "region", "aria-label": "About the picture" } }, this.state, facts(row));
        dialog.replaceChildren(this.stage, about, closer(dialog));
        this.stage.focus();
        this.preload(index + 1);
        this.preload(index - 1);
      }
      this.stage.classList.toggle("full", this.full);
      const { verdict, stars: count } = desk.stateAt(index);
      this.state.textContent = `${index + 1} of ${desk.grid.total} · ${WORDS[verdict]} · ${stars(count)}`;
      this.state.dataset.of = verdict;
    }

    preload(index) {
      const row = this.desk.rows.get(index);
      if (row) new Image().src = this.desk.source.picture(row);
    }

    zoom() {
      this.full = !this.full;
      this.stage?.classList.toggle("full", this.full);
      this.desk.say(this.full ? "100 %" : "fitted");
    }
  }

  class Comparison {
    constructor(desk) {
      this.desk = desk;
      this.dialog = byId("compare");
      this.dialog.addEventListener("close", () => desk.focusGrid());
    }

    get open() {
      return this.dialog.open;
    }

    async show(indices) {
      const rows = await Promise.all(indices.map((index) => this.desk.rowAt(index)));
      this.indices = indices.filter((_, at) => rows[at]);
      const figures = rows.filter(Boolean).map((row, at) => {
        const caption = make("figcaption", {}, make("b", { className: "state" }), make("span", {}, row.prompt));
        const figure = make("figure", { tabIndex: -1, dataset: { compareId: row.image_id }, attributes: { role: "group", "aria-label": row.prompt } },
          picture(this.desk, row, row.prompt), caption);
        figure.addEventListener("click", () => this.desk.focus(this.indices[at]));
        return figure;
      });
      this.figures = figures;
      const sheet = make("div", { className: "sheet", dataset: { count: String(figures.length) } }, ...figures);
      this.dialog.replaceChildren(sheet, closer(this.dialog));
      if (!this.open) this.dialog.showModal();
      if (!this.indices.includes(this.desk.grid.current)) this.desk.focus(this.indices[0]);
      this.draw();
    }

    move(step) {
      const at = this.indices.indexOf(this.desk.grid.current);
      const next = Math.max(0, Math.min(this.indices.length - 1, at + step));
      this.desk.focus(this.indices[next]);
    }

    draw() {
      this.figures.forEach((figure, at) => {
        const { verdict, stars: count } = this.desk.stateAt(this.indices[at]);
        figure.dataset.of = verdict;
        figure.querySelector(".state").textContent = `${WORDS[verdict]} · ${stars(count)} `;
        if (this.indices[at] === this.desk.grid.current) {
          figure.dataset.focused = "";
          figure.focus();
        } else {
          delete figure.dataset.focused;
        }
      });
    }

    zoom() {
      this.dialog.firstChild.classList.toggle("full");
    }
  }

  /** A dialog with a form; Enter sends it, Esc leaves it. */
  function form(desk, dialog, title, fields, verb, send) {
    const area = fields.find((field) => field.localName === "textarea");
    const go = make("button", { type: "submit" }, verb);
    const body = make("form", { method: "dialog" },
      make("h2", { id: `${dialog.id}-title` }, title),
      ...fields,
      make("p", { className: "buttons" }, make("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go));
    body.addEventListener("submit", () => send());
    area?.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        body.requestSubmit(go);
      }
    });
    dialog.replaceChildren(body);
    dialog.addEventListener("close", () => desk.returnFocus(), { once: true });
    dialog.showModal();
    area?.focus();
  }

  function labelled(text, field) {
    return make("label", {}, make("span", {}, text), field);
  }

  function editPrompt(desk, row) {
    const area = make("textarea", { rows: 6, value: row.prompt, attributes: { "aria-label": "Prompt" } });
    const price = row.cost_usd ? `This picture cost ${dollars(row.cost_usd)}. ` : "";
    form(desk, byId("edit"), "Ask for a picture of an edited prompt",
      [area, make("p", {}, `${price}Nothing is bought now: prefect-imagen regenerate buys it, under a budget.`)],
      "Ask for it", () => desk.request(row, { prompt: area.value }));
  }

  function note(desk, row, before) {
    const reason = make("input", { type: "text", value: before.reason || "", maxLength: 200, attributes: { list: "reasons" } });
    const list = make("datalist", { id: "reasons" }, ...["anatomy", "text", "composition", "off brief", "quality"].map((value) => make("option", { value })));
    const area = make("textarea", { rows: 4, value: before.note || "", maxLength: 2000 });
    const areaLabel = labelled("Note", area);
    const fields = [labelled("Reason", reason), list, areaLabel];
    form(desk, byId("note"), "Note on this picture", fields, "Save", () => desk.annotate(row, { verdict: before.verdict, reason: reason.value, note: area.value }));
    reason.focus();
  }

  async function filters(desk) {
    const dialog = byId("filters");
    const now = new URLSearchParams(desk.filters);
    let choices = {};
    try {
      choices = await desk.source.choices();
    } catch (error) {
      desk.say(error.message);
    }
    const select = (name, text, options) => {
      const field = make("select", { name }, make("option", { value: "" }, "any"), ...options.map((option) => {
        const [value, label] = Array.isArray(option) ? option : [option, option];
        return make("option", { value }, label === "" ? "(none)" : label);
      }));
      field.value = now.get(name) || "";
      return labelled(text, field);
    };
    const input = (name, text, type, more = {}) => labelled(text, make("input", { name, type, value: now.get(name) || "", ...more }));
    const available = choices.fields || [];
    const all = {
      verdict: () => select("verdict", "Verdict", ["approved", "rejected", ["none", "not reviewed"]]),
      stars: () => select("stars", "Stars at least", ["1", "2", "3", "4", "5"]),
      flag: () => select("flag", "Flag", choices.flags || []),
      duplicates: () => select("duplicates", "Look alike", [["any", "others"], ["none", "no other"]]),
      run: () => select("run", "Run", choices.runs || []),
      edition: () => select("edition", "Edition", choices.editions || []),
      tag: () => select("tag", "Tag", choices.tags || []),
      model: () => select("model", "Model", choices.models || []),
      cost_from: () => input("cost_from", "Cost from, $", "number", { min: 0, step: "any" }),
      cost_to: () => input("cost_to", "Cost to, $", "number", { min: 0, step: "any" }),
      since: () => input("since", "From", "date"),
      until: () => input("until", "Before", "date"),
      order: () => select("order", "Order", [["time", "time"], ["flags", "most flags first"], ["stars", "most stars first"],
        ["cost", "dearest first"], ["item", "grouped by item"], ["prompt", "grouped by prompt"], ["duplicates", "grouped by duplicates"]]),
    };
    const fields = available.filter((name) => all[name]).map((name) => all[name]());
    const body = make("form", { method: "dialog" },
      make("h2", { id: "filters-title" }, "Filter"),
      make("div", { className: "fields" }, ...fields),
      make("p", { className: "buttons" },
        make("button", { type: "button", onclick: () => { dialog.close(); desk.filter({}, true); } }, "Show all"),
        make("button", { type: "submit" }, "Filter")));
    body.addEventListener("submit", () => desk.filter(Object.fromEntries(new FormData(body)), true));
    dialog.replaceChildren(body);
    dialog.addEventListener("close", () => desk.focusGrid(), { once: true });
    dialog.showModal();
  }

  function help(desk) {
    const dialog = byId("help");
    if (dialog.open) {
      dialog.close();
      return;
    }
    const rows = KEYS.map(([keys, what]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, keys)), make("td", {}, what)));
    const advance = make("input", { type: "checkbox", checked: desk.advances, onchange: () => { desk.advances = advance.checked; } });
    dialog.replaceChildren(
      make("h2", { id: "help-title" }, "Keys"),
      make("table", {}, make("tbody", {}, ...rows)),
      make("label", { className: "check" }, advance, " go to the next picture after a verdict"),
      closer(dialog));
    dialog.addEventListener("close", () => desk.returnFocus(), { once: true });
    dialog.showModal();
  }

  Object.assign(window.Imagen, { Loupe, Comparison, editPrompt, form, note, filters, help, make, newId, WORDS });
})();
