// The portal's one script: no dependency, no build. docs/look.md lists every attribute it answers to.
// All listeners sit on the document, so content that htmx swaps in needs no set-up.
(() => {
  "use strict";
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const cookie = (name) => document.cookie.split("; ").find((part) => part.startsWith(name + "="))?.slice(name.length + 1) ?? "";
  const dig = (object, path) => path.split(".").reduce((value, key) => value?.[key], object);
  const fill = (text, data, encode = String) => text.replace(/\{([A-Za-z_][\w.]*)\}/g, (whole, path) => {
    const value = dig(data, path);
    return value === undefined || value === null || typeof value === "object" ? whole : encode(value);
  });

  // ── Toasts ───────────────────────────────────────────────────────────────────────────────────────────────────────
  const dismissLater = (toast) => setTimeout(() => toast.remove(), toast.dataset.kind === "bad" ? 12000 : 5000);
  function toast(text, kind = "ok") {
    const node = document.createElement("p");
    node.className = "toast";
    node.dataset.kind = kind;
    node.textContent = text;
    $("#toasts")?.append(node);
    dismissLater(node);
  }
  const toastAfterLoad = (text) => sessionStorage.setItem("toast", text);

  // ── Confirmation ─────────────────────────────────────────────────────────────────────────────────────────────────
  function confirmed({ title, text, label, kind, type }) {
    const dialog = $("#confirm"), yes = $("#confirm-yes"), word = $("#confirm-word");
    $("#confirm-title").textContent = title || "Are you sure?";
    $("#confirm-text").textContent = text;
    $("#confirm-expected").textContent = type || "";
    $("#confirm-type").hidden = !type;
    yes.textContent = label || "Continue";
    yes.className = kind === "danger" ? "btn btn-danger-solid" : "btn btn-primary";
    yes.disabled = Boolean(type);
    word.value = "";
    word.oninput = () => { yes.disabled = word.value !== type; };
    // Enter in the word field submits by the form's first button; that must not be a silent Cancel.
    word.onkeydown = (event) => { if (event.key === "Enter") { event.preventDefault(); if (!yes.disabled) dialog.close("yes"); } };
    dialog.returnValue = "";
    dialog.showModal();
    if (type) word.focus();
    return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
  }

  // ── Forms to JSON ────────────────────────────────────────────────────────────────────────────────────────────────
  function put(body, path, value) {
    const keys = path.split(".");
    const last = keys.pop();
    let place = body;
    for (const key of keys) place = place[key] = Object(place[key]) === place[key] ? place[key] : {};
    place[last] = value;
  }
  function valueOf(control, form) {
    const type = control.dataset.type || (control.name.endsWith("[]") ? "list" : control.type === "number" ? "number" : control.type === "datetime-local" ? "datetime" : "");
    if (type === "list") {
      if (control.type === "checkbox") return $$(`input[name="${CSS.escape(control.name)}"]:checked:enabled`, form).map((box) => box.value);
      if (control.multiple) return [...control.selectedOptions].map((option) => option.value);
      return control.value.split(/[\n,]/).map((item) => item.trim()).filter(Boolean);
    }
    if (control.type === "checkbox") return control.checked;
    if (control.dataset.sameAs) control.value = $(control.dataset.sameAs).value;
    if (control.value === "") {
      const omits = ["number", "json", "datetime"].includes(type) || control.type === "password";
      const empty = control.dataset.empty || (omits ? "omit" : "keep");
      return empty === "omit" ? undefined : empty === "null" ? null : "";
    }
    if (type === "number") return Number(control.value);
    if (type === "bool") return control.value === "true";
    if (type === "datetime") return new Date(control.value).toISOString();
    if (type === "json") {
      try { return JSON.parse(control.value); } catch { throw { field: control.name, detail: "This is not valid JSON." }; }
    }
    return control.value;
  }
  function collect(form) {
    const body = form.dataset.body ? JSON.parse(form.dataset.body) : {};
    for (const control of form.elements) {
      // A name that begins with "_" only steers the form.
      if (!control.name || control.name.startsWith("_") || control.matches(":disabled, [type=submit], [type=button], fieldset, [name=csrfmiddlewaretoken]")) continue;
      if (control.type === "radio" && !control.checked) continue;
      const value = valueOf(control, form);
      if (value !== undefined) put(body, control.name.replace("[]", ""), value);
    }
    for (const group of $$("[data-keyvalue]", form)) {
      if (group.closest("[hidden]") || group.disabled) continue;
      const pairs = $$(".keyvalue-row", group).map((row) => [$("[data-key]", row).value.trim(), $("[data-value]", row).value]);
      put(body, group.dataset.keyvalue, Object.fromEntries(pairs.filter(([key]) => key)));
    }
    return body;
  }

  // ── Errors beside their fields ───────────────────────────────────────────────────────────────────────────────────
  function clearErrors(form) {
    for (const slot of $$("[data-error-for]", form)) { slot.hidden = true; slot.textContent = ""; }
    for (const bad of $$("[aria-invalid]", form)) bad.removeAttribute("aria-invalid");
    for (const field of $$(".has-error", form)) field.classList.remove("has-error");
    $("[data-form-errors]", form)?.replaceChildren();
  }
  function slotFor(form, field) {
    for (let path = field; path; path = path.includes(".") ? path.slice(0, path.lastIndexOf(".")) : "") {
      const slot = $$("[data-error-for]", form).find((one) => one.dataset.errorFor.replace("[]", "") === path && !one.closest("[data-show-when][hidden]"));
      if (slot) return slot;
    }
    return null;
  }
  function showErrors(form, problem) {
    const unplaced = [];
    let first = null;
    for (const { field, detail } of problem.errors ?? []) {
      const slot = slotFor(form, field ?? "");
      if (!slot) { unplaced.push(field ? `${field}: ${detail}` : detail); continue; }
      slot.textContent = slot.textContent ? `${slot.textContent} ${detail}` : detail;
      slot.hidden = false;
      const holder = slot.closest(".field");
      holder?.classList.add("has-error");
      const control = holder && $("input, select, textarea", holder);
      control?.setAttribute("aria-invalid", "true");
      first ??= control;
    }
    if (!problem.errors?.length || unplaced.length) {
      let summary = $("[data-form-errors]", form);
      if (!summary) { summary = document.createElement("div"); summary.dataset.formErrors = ""; form.prepend(summary); }
      const box = document.createElement("div");
      box.className = "callout callout-bad";
      box.setAttribute("role", "alert");
      box.tabIndex = -1;
      box.textContent = unplaced.length ? unplaced.join(" ") : problem.detail || problem.title || "That did not work.";
      summary.replaceChildren(box);
      first ??= box;
    }
    first?.focus();
  }

  // ── Calling the API ──────────────────────────────────────────────────────────────────────────────────────────────
  // The tenant that this page was drawn for: another tab may have switched the session to another one meanwhile.
  const ownHeaders = () => ({ "X-CSRFToken": cookie("csrftoken"), ...(document.body.dataset.tenant && { "X-Portal-Tenant": document.body.dataset.tenant }) });
  async function call(url, method, body) {
    const options = { method, credentials: "same-origin", headers: { Accept: "application/json, application/problem+json", ...ownHeaders() } };
    if (body !== undefined) { options.headers["Content-Type"] = "application/json"; options.body = JSON.stringify(body); }
    let response;
    try { response = await fetch(url, options); } catch { return { problem: { title: "The portal could not be reached. Nothing was changed; try again." } }; }
    const data = await response.json().catch(() => null);
    if (response.ok) return { data: data ?? {} };
    return { problem: data && typeof data === "object" ? data : { title: `The portal answered ${response.status} ${response.statusText}.` } };
  }
  async function act(element, body) {
    const { api, method = "POST", confirm, confirmTitle, confirmLabel, confirmKind, confirmType } = element.dataset;
    if (confirm && !await confirmed({ title: confirmTitle, text: confirm, label: confirmLabel, kind: confirmKind, type: confirmType })) return;
    const isForm = element.matches("form");
    const buttons = isForm ? [...element.elements].filter((one) => one.type === "submit" && !one.disabled) : [element];
    for (const button of buttons) { button.disabled = true; button.setAttribute("aria-busy", "true"); }
    const { data, problem } = await call(api, method.toUpperCase(), body);
    for (const button of buttons) { button.disabled = false; button.removeAttribute("aria-busy"); }
    if (problem) {
      if (isForm) showErrors(element, problem);
      else toast([problem.detail || problem.title, ...(problem.errors ?? []).map((error) => error.detail)].join(" "), "bad");
      return;
    }
    succeed(element, data);
  }
  function succeed(element, data) {
    const { next, refresh, reveal, fillInto, toast: words } = element.dataset;
    const said = words && fill(words, data);
    element.closest("dialog")?.close();
    if (element.matches("form") && (reveal || element.closest("dialog"))) element.reset();
    if (reveal) {
      showSecret($(reveal), data, element);
      if (refresh) $$(refresh).forEach(refetch);
      if (said) toast(said);
      return;
    }
    if (fillInto) fillPart($(fillInto), data);
    if (next || refresh === "") {
      if (said) toastAfterLoad(said);
      if (next) location.assign(fill(next, data, encodeURIComponent)); else location.reload();
      return;
    }
    if (refresh) $$(refresh).forEach(refetch);
    if (said) toast(said);
  }

  // A question about some of what a form holds, before it is sent.
  async function ask(button) {
    const { form, dataset } = button, panel = $(dataset.fillInto);
    clearErrors(form);
    const held = collect(form);
    const body = Object.fromEntries(dataset.askFields.split(" ").filter((name) => name in held).map((name) => [name, held[name]]));
    button.disabled = true;
    button.setAttribute("aria-busy", "true");
    const { data, problem } = await call(dataset.ask, "POST", body);
    button.disabled = false;
    button.removeAttribute("aria-busy");
    panel.hidden = true;
    if (problem) showErrors(form, problem); else fillPart(panel, data);
  }

  // ── The reveal-once panel ────────────────────────────────────────────────────────────────────────────────────────
  // `guarded` is the panel whose secret nobody has stored yet. The secret lives in that panel's text and nowhere else.
  let guarded = null;
  function fillPart(panel, data) {
    for (const node of $$("[data-fill]", panel)) {
      const found = dig(data, node.dataset.fill), value = Array.isArray(found) ? found.join(", ") : found;
      node.textContent = value && node.matches("time") ? new Date(value).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : value ?? "";
      (node.closest("[data-fill-row]") ?? node).hidden = value === undefined || value === null || value === "";
    }
    for (const node of $$("[data-fill-template]", panel)) {
      node.dataset.source ??= node.textContent;
      node.textContent = fill(node.dataset.source, data);
      // A tab whose whole text is one thing that this response has not got.
      const tab = document.getElementById(node.closest("[role=tabpanel]")?.getAttribute("aria-labelledby"));
      if (tab) tab.hidden = node.textContent === node.dataset.source && /^\{[\w.]+\}$/.test(node.textContent);
    }
    for (const node of $$("[data-fill-href]", panel)) node.href = fill(node.dataset.fillHref, data, encodeURIComponent);
    panel.hidden = false;
  }
  function showSecret(panel, data, asker) {
    fillPart(panel, data);
    // A live part whose URL the response names; a fresh copy, so that htmx forgets what an earlier response started.
    for (const node of $$("[data-fill-get]", panel)) {
      const fresh = node.cloneNode();
      fresh.setAttribute("hx-get", fill(node.dataset.fillGet, data, encodeURIComponent));
      node.replaceWith(fresh);
      htmx.process(fresh);
    }
    panel.dataset.nextUrl = panel.dataset.next ? fill(panel.dataset.next, data, encodeURIComponent) : "";
    if (asker.matches("form") && !asker.closest("dialog")) asker.hidden = true;
    panel.toggleAttribute("data-no-secret", !data.secret);
    if (panel.hasAttribute("data-guard-leave") && data.secret) guarded = panel;
    panel.scrollIntoView({ block: "start" });
    $("h2", panel)?.focus();
  }
  const leaving = () => confirmed({ title: "Leave without the secret?", text: "It has not been copied, and it cannot be shown again. You would have to make a new one.", label: "Leave anyway", kind: "danger" });
  async function finishReveal(panel) {
    if (guarded === panel && !await leaving()) return;
    guarded = null;
    if (panel.dataset.nextUrl) location.assign(panel.dataset.nextUrl); else location.reload();
  }
  addEventListener("beforeunload", (event) => { if (guarded) event.preventDefault(); });
  // The back/forward cache would keep the panel's text alive; what is left behind is emptied.
  addEventListener("pagehide", () => $$("[data-reveal-panel] :is([data-fill], [data-fill-template])").forEach((node) => { node.textContent = ""; }));
  addEventListener("pageshow", (event) => { if (event.persisted && $("[data-reveal-panel]:not([hidden])")) location.reload(); });

  // ── A secret that is seen for as long as a button is held ────────────────────────────────────────────────────────
  // The secret lives in the text that is seen, and is gone from there when the button is let go.
  let held = null;
  function hold(button) {
    if (held) return;
    const place = $(button.dataset.holdTarget);
    // A mere click is not meant, and each look is on record: the portal is asked a moment later.
    held = { button, place, masked: place.textContent, timer: setTimeout(show, 300) };
    button.classList.add("held");
    async function show() {
      const mine = held;
      mine.asked = true;
      const { data, problem } = await call(button.dataset.holdReveal, "POST");
      if (problem) toast(problem.detail || problem.title, "bad");
      else if (held === mine) { place.textContent = data.secret; place.dataset.shown = ""; }
    }
  }
  function letGo() {
    if (!held) return;
    const { button, place, masked, timer, asked } = held;
    held = null;
    clearTimeout(timer);
    button.classList.remove("held");
    place.textContent = masked;
    delete place.dataset.shown;
    if (!asked) toast("Keep it pressed to see the secret.");
  }
  for (const ending of ["pointerup", "pointercancel", "keyup", "focusout"]) document.addEventListener(ending, letGo);
  for (const ending of ["blur", "pagehide"]) addEventListener(ending, letGo);
  document.addEventListener("visibilitychange", letGo);
  document.addEventListener("pointerdown", (event) => {
    const button = event.target.closest("[data-hold-reveal]");
    if (button && event.button === 0) hold(button);
  });
  document.addEventListener("contextmenu", (event) => { if (event.target.closest("[data-hold-reveal]")) event.preventDefault(); });
  async function copyFromApi(button) {
    const { data, problem } = await call(button.dataset.copyApi, "POST");
    if (problem) return toast(problem.detail || problem.title, "bad");
    if (await copyText(data.secret, button)) toast("Copied"); else toast("Copying is not allowed here.", "warn");
  }

  // ── Copying ──────────────────────────────────────────────────────────────────────────────────────────────────────
  async function copyText(text, near) {
    if (navigator.clipboard && isSecureContext) {
      try { await navigator.clipboard.writeText(text); return true; } catch { /* refused: the old way below still works on a click */ }
    }
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "visually-hidden";
    (near.closest("dialog") ?? document.body).append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    near.focus();
    return done;
  }
  async function copy(button) {
    const target = button.dataset.copyTarget && $(button.dataset.copyTarget);
    if (!await copyText(target ? target.value ?? target.textContent : button.dataset.copy, button)) {
      if (target) getSelection().selectAllChildren(target);
      return toast("Copying is not allowed here. Press Ctrl+C to copy the selected text.", "warn");
    }
    if (button.hasAttribute("data-copied-secret")) guarded = null;
    const word = $("[data-copy-word]", button);
    button.classList.add("copied");
    if (word) word.textContent = "Copied"; else toast("Copied");
    setTimeout(() => { button.classList.remove("copied"); if (word) word.textContent = "Copy"; }, 1500);
  }

  // ── Live regions and panels ──────────────────────────────────────────────────────────────────────────────────────
  function refetch(region) {
    // While a panel is open the page's URL is the panel's; the list's own is where its close link leads.
    const url = region.dataset.liveUrl || region.getAttribute("hx-get") || $("#panel [data-panel-close]")?.getAttribute("href") || location.pathname + location.search;
    return htmx.ajax("GET", url, { target: region, swap: "innerHTML" }).catch(() => {});
  }
  const lastPoll = new WeakMap();
  let polling = false;
  async function poll() {
    if (document.hidden || polling) return;
    polling = true;
    for (const button of $$("[data-live][aria-pressed=true]")) {
      const region = $(button.dataset.live);
      if (!region || Date.now() - (lastPoll.get(button) ?? 0) < Number(button.dataset.liveEvery || 2) * 1000 - 100) continue;
      // A person selecting text, using a menu or a dialog, or typing inside the region is not interrupted.
      const busy = $("details[open], dialog[open], tbody input:checked", region) || region.contains(getSelection().isCollapsed ? null : getSelection().anchorNode) || region.contains(document.activeElement?.closest("input, textarea, select"));
      lastPoll.set(button, Date.now());
      const marker = $("[data-live-new]", region);
      if (!marker) { if (!busy) await refetch(region); continue; }
      // A list that says what is new is fetched again only when something is, and only for somebody who is not reading it.
      await htmx.ajax("GET", marker.dataset.liveNew, { target: marker, swap: "outerHTML" }).catch(() => {});
      const reading = busy || region.matches(":hover, :focus-within") || scrollY > 0 && region.getBoundingClientRect().top < 0 || marker.matches("[data-paged]");
      if (!reading && Number($("[data-live-new]", region)?.dataset.count)) await refetch(region);
    }
    polling = false;
  }
  setInterval(poll, 1000);
  async function closePanel(link) {
    history.pushState({ htmx: true }, "", link.href);
    $("#panel").replaceChildren();
    const region = $("[data-live-region]");
    if (region && !region.childElementCount) refetch(region);
    panelOpener?.focus();
  }
  let panelOpener = null, behindPanel = "";

  // ── Parts that depend on a choice ────────────────────────────────────────────────────────────────────────────────
  function showParts(root = document) {
    for (const part of $$("[data-show-when]", root)) {
      const [, name, not, wanted] = part.dataset.showWhen.match(/^([^!=]+)(!?)=(.*)$/) ?? [];
      const controls = $$(`[name="${CSS.escape(name ?? "")}"]`, part.closest("form") ?? document);
      const chosen = controls.find((one) => one.type !== "radio" || one.checked);
      const value = chosen?.type === "checkbox" ? String(chosen.checked) : chosen?.value ?? "";
      const show = wanted?.split(",").includes(value) !== Boolean(not);
      part.hidden = !show;
      for (const control of $$("input, select, textarea, button", part)) {
        control.disabled = Boolean(control.closest("[data-show-when][hidden]"));
      }
    }
  }

  // ── Times, theme, tabs, menus ────────────────────────────────────────────────────────────────────────────────────
  function age(at) {
    const seconds = Math.trunc((Date.now() - at) / 1000), distance = Math.abs(seconds);
    if (distance < 5) return "just now";
    if (distance >= 30 * 86400) return new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
    const units = [[86400, "d", 1800], [3600, "h", 30], [60, "min", 0], [1, "s", 0]], ahead = seconds <= 0;
    // What is to come is rounded, as in config/templatetags/look.py; the third figure is half of the next smaller unit.
    const [size, unit] = units.find(([step, , half]) => distance + (ahead ? half : 0) >= step);
    return ahead ? `in ${Math.trunc(distance / size + 0.5)} ${unit}` : `${Math.trunc(distance / size)} ${unit} ago`;
  }
  const freshenTimes = () => { for (const time of $$("time[data-relative]")) time.textContent = age(Date.parse(time.dateTime)); };
  setInterval(freshenTimes, 10000);
  function nextTheme() {
    const order = ["light", "dark", "system"], now = document.documentElement.dataset.theme ?? "system";
    const theme = order[(order.indexOf(now) + 1) % 3];
    if (theme === "system") delete document.documentElement.dataset.theme; else document.documentElement.dataset.theme = theme;
    document.cookie = `theme=${theme}; Path=/; SameSite=Lax; Max-Age=${theme === "system" ? 0 : 31536000}`;
    toast(`Theme: ${theme}`);
  }
  function selectTab(tab) {
    for (const one of $$("[role=tab]", tab.closest("[role=tablist]"))) {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
      const page = document.getElementById(one.getAttribute("aria-controls"));
      if (page) page.hidden = one !== tab;
    }
  }
  function openNav(open) {
    document.documentElement.toggleAttribute("data-nav-open", open);
    $("[data-nav-toggle]")?.setAttribute("aria-expanded", String(open));
  }

  // ── One listener an event ────────────────────────────────────────────────────────────────────────────────────────
  const clicks = {
    "[data-copy], [data-copy-target]": (button) => copy(button),
    "[data-copy-api]": copyFromApi,
    "button[data-api]": (button) => act(button, button.dataset.body ? JSON.parse(button.dataset.body) : undefined),
    "[data-ask]": ask,
    "[data-dialog]": (button) => $(button.dataset.dialog).showModal(),
    "[data-dialog-close]": (button) => button.closest("dialog").close(),
    "[data-reveal-done]": (button) => finishReveal(button.closest("[data-reveal-panel]")),
    "[data-theme-toggle]": nextTheme,
    "[data-nav-toggle]": () => openNav(!document.documentElement.hasAttribute("data-nav-open")),
    "[role=tab]": selectTab,
    "[data-live]": (button) => { button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true")); poll(); },
    "[data-keyvalue-add]": (button) => { const group = button.closest("[data-keyvalue]"), rows = $("[data-keyvalue-rows]", group); rows.append($("template", group).content.cloneNode(true)); $("input", rows.lastElementChild).focus(); },
    "[data-add-value]": (button) => { const list = $(button.dataset.addTo), items = list.value.split(",").map((item) => item.trim()).filter(Boolean), { addValue } = button.dataset; list.value = (items.includes(addValue) ? items.filter((item) => item !== addValue) : [...items, addValue]).join(", "); },
    "[data-keyvalue-remove]": (button) => button.closest(".keyvalue-row").remove(),
    "[data-toast-shown]": (node) => node.remove(),
  };
  document.addEventListener("click", (event) => {
    for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
    const link = event.target.closest("a[href]");
    const plain = !event.defaultPrevented && event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (link && guarded && plain && link.target !== "_blank" && !link.hash) {
      event.preventDefault();
      event.stopPropagation();
      leaving().then((go) => { if (go) { guarded = null; location.assign(link.href); } });
      return;
    }
    if (link?.matches("[data-panel-close]") && plain && $("#panel")?.contains(link)) { event.preventDefault(); closePanel(link); return; }
    if (link?.getAttribute("hx-target") === "#panel" && !$("#panel").childElementCount) { panelOpener = link; behindPanel = location.pathname + location.search; }
    for (const [selector, handle] of Object.entries(clicks)) {
      const hit = event.target.closest(selector);
      if (hit && !hit.disabled) { handle(hit); return; }
    }
    if (document.documentElement.hasAttribute("data-nav-open") && !event.target.closest("#nav")) openNav(false);
    const row = event.target.closest("tr[data-row]");
    if (row && plain && !event.target.closest("a, button, input, label, summary") && getSelection().isCollapsed) $("a.row-link", row)?.click();
  }, true);
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.matches("form[data-api]")) return;
    event.preventDefault();
    clearErrors(form);
    try { act(form, collect(form)); } catch (error) { if (!error.field) throw error; showErrors(form, { errors: [error] }); }
  });
  document.addEventListener("change", (event) => {
    if (event.target.form) showParts(event.target.form);
    if (event.target.matches("[data-check-all]")) for (const box of $$(`input[name="${CSS.escape(event.target.dataset.checkAll)}"]`, event.target.closest("table"))) box.checked = event.target.checked;
    if (event.target.matches("[data-acknowledge]")) { const panel = event.target.closest("[data-reveal-panel]"); guarded = event.target.checked ? null : panel; }
    if (event.target.form?.matches("[data-submit-on-change]")) event.target.form.requestSubmit();
  });
  // Leaves those of a list whose text has the words; what is chosen, and what says so itself, stays.
  document.addEventListener("input", (event) => {
    if (!event.target.matches("[data-narrow]")) return;
    const words = event.target.value.toLowerCase().split(/\s+/);
    for (const one of $(event.target.dataset.narrow).children) one.hidden = !one.matches("[data-narrow-keep], :has(:checked)") && !words.every((word) => one.textContent.toLowerCase().includes(word));
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches?.("[data-narrow]")) event.preventDefault();
    if (event.key === "Escape") {
      const menu = $("details.menu[open]");
      if (menu) { menu.open = false; $("summary", menu).focus(); } else if (document.documentElement.hasAttribute("data-nav-open")) openNav(false);
      else if (!$("dialog[open]")) $("#panel [data-panel-close]")?.click();
    }
    if (event.target.matches?.("[data-hold-reveal]") && ["Enter", " "].includes(event.key)) {
      event.preventDefault();
      if (!event.repeat) hold(event.target);
    }
    if (event.target.matches?.("[role=tab]") && ["ArrowLeft", "ArrowRight"].includes(event.key)) {
      const tabs = $$("[role=tab]:not([hidden])", event.target.closest("[role=tablist]")), step = event.key === "ArrowRight" ? 1 : -1;
      const tab = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
      selectTab(tab);
      tab.focus();
    }
  });

  // ── htmx ─────────────────────────────────────────────────────────────────────────────────────────────────────────
  document.addEventListener("htmx:configRequest", ({ detail }) => {
    Object.assign(detail.headers, ownHeaders());
    if (!detail.elt.matches("[data-filters]")) return;
    // Empty choices do not belong in the URL that a person copies.
    for (const name of Object.keys(detail.parameters)) if (detail.parameters[name] === "") delete detail.parameters[name];
  });
  document.addEventListener("htmx:afterRequest", ({ detail }) => {
    const form = detail.elt?.closest?.("[data-filters]");
    if (form) $(".filters-clear", form)?.toggleAttribute("hidden", !location.search);
  });
  document.addEventListener("htmx:afterSettle", ({ detail }) => {
    showParts();
    freshenTimes();
    if (detail.target?.id !== "panel") return;
    // Closing leads back to the page it was opened on, with its filters.
    if (behindPanel) $("#panel [data-panel-close]")?.setAttribute("href", behindPanel);
    $("#panel-title")?.focus();
  });
  document.addEventListener("DOMContentLoaded", () => {
    showParts();
    freshenTimes();
    $$("[data-toast-shown]").forEach(dismissLater);
    const words = sessionStorage.getItem("toast");
    if (words) { sessionStorage.removeItem("toast"); toast(words); }
  });
  window.portal = { toast, refetch, showParts };
})();
