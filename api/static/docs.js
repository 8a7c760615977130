// Draws /openapi.json as a page. Everything is put in as text: nothing of the document is ever read as HTML.
"use strict";

const DEPTH = 6;
const VERBS = ["get", "post", "put", "patch", "delete"];
let doc = null;

// An element: its tag and classes as "tag.class", attributes, and what is in it.
function make(what, attributes = {}, ...inside) {
  const [tag, ...classes] = what.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...inside.flat(Infinity).filter((one) => one !== null && one !== undefined && one !== ""));
  return element;
}

// A sentence whose `words` are code.
function prose(text) {
  return (text || "").split("`").map((part, at) => (at % 2 ? make("code", {}, part) : part));
}

function follow(value) {
  if (!value || !value.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, step) => at[step.replaceAll("~1", "/")], doc);
}

function refName(schema) {
  return schema.$ref ? schema.$ref.split("/").pop() : "";
}

// ---- types ----

function variants(schema) {
  return (schema.anyOf || schema.oneOf || []).filter((one) => one.type !== "null" && (one.$ref || one.type || one.enum || one.const));
}

function typeOf(schema) {
  const whole = follow(schema) || {};
  if (whole.const !== undefined) return JSON.stringify(whole.const);
  if (whole.enum) return whole.enum.length > 12 ? refName(schema) || "one of many words" : whole.enum.map((one) => JSON.stringify(one)).join(" | ");
  if (!whole.type && variants(whole).length) {
    const nullable = whole.anyOf && whole.anyOf.some((one) => one.type === "null");
    return variants(whole).map(typeOf).join(" | ") + (nullable ? " | null" : "");
  }
  if (whole.type === "array") return `array of ${typeOf(whole.items || {})}`;
  if (whole.type === "object") return refName(schema) || "object";
  return [whole.format || whole.type || "any", bounds(whole)].filter(Boolean).join(", ");
}

function bounds(schema) {
  const said = [];
  const low = schema.minimum ?? schema.exclusiveMinimum;
  const high = schema.maximum ?? schema.exclusiveMaximum;
  if (low !== undefined && high !== undefined) said.push(`${low} to ${high}`);
  else if (low !== undefined) said.push(`from ${low}`);
  else if (high !== undefined) said.push(`up to ${high}`);
  if (schema.maxLength !== undefined) said.push(`at most ${schema.maxLength} characters`);
  return said.join(", ");
}

// The objects inside a field, however it wraps them.
function inner(schema) {
  const whole = follow(schema) || {};
  if (whole.properties) return [[refName(schema), whole]];
  if (whole.type === "array") return inner(whole.items || {});
  return variants(whole).flatMap(inner);
}

// `marks`: say which fields are required; of what we answer, all are there anyway.
function rows(schema, marks, depth = 0) {
  const whole = follow(schema);
  const required = new Set(marks ? whole.required || [] : []);
  return make("dl.rows", {}, Object.entries(whole.properties || {}).map(([name, field]) =>
    row(name, field, required.has(name), marks, depth)));
}

function parameter(one) {
  const example = one.in === "header" && one.example ? ` Example: \`${one.example}\`` : "";
  return row(one.name, { ...one.schema, description: `${one.description || ""}${example}` }, one.required && one.in === "query", false, 0);
}

// A variant goes by the word that chooses it; anything else by its name.
function titleOf(name, schema) {
  const tag = schema.properties.type && (schema.properties.type.const ?? (schema.properties.type.enum || [])[0]);
  const isTagged = tag !== undefined && name.endsWith("Body");
  return [isTagged ? make("code", {}, tag) : name || "fields", schema.description ? make("span.why", {}, prose(` ${schema.description.split("\n")[0]}`)) : ""];
}

function describe(schema) {
  const whole = follow(schema) || {};
  return schema.description || whole.description || (variants(whole).find((one) => one.description) || {}).description || "";
}

function row(name, schema, isRequired, marks, depth) {
  const deep = depth < DEPTH ? inner(schema).filter(([, one]) => Object.keys(one.properties).length) : [];
  const unset = schema.default !== undefined && schema.default !== null && JSON.stringify(schema.default) !== "{}";
  return make("div.row", {},
    make("dt", {}, make("span.name", {}, name), isRequired ? make("span.must", {}, "required") : null,
      make("span.type", {}, typeOf(schema))),
    make("dd", {},
      make("p.say", {}, prose(describe(schema)), unset ? prose(` Default: \`${JSON.stringify(schema.default)}\`.`) : ""),
      deep.map(([title, one]) => make("details.deep", {}, make("summary", {}, deep.length > 1 ? titleOf(title, one) : "its fields"), rows(one, marks, depth + 1)))));
}
// ---- samples ----

function sample(text) {
  const pre = make("pre", { tabindex: "0" }, text);
  const copy = make("button.copy", { type: "button" }, "copy");
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = "copied";
    setTimeout(() => { copy.textContent = "copy"; }, 1500);
  });
  return make("div.sample", {}, pre, navigator.clipboard ? copy : null);
}

// Several samples behind buttons; one stands alone.
function choice(samples) {
  const entries = Object.entries(samples);
  if (entries.length < 2) return make("div", {}, entries.map(([, text]) => sample(text)));
  const place = make("div");
  const buttons = entries.map(([name, text]) => {
    const button = make("button", { type: "button", "aria-pressed": "false" }, name);
    button.addEventListener("click", () => {
      buttons.forEach((one) => one.setAttribute("aria-pressed", String(one === button)));
      place.replaceChildren(sample(text));
    });
    return button;
  });
  buttons[0].click();
  return make("div", {}, make("div.tabs", {}, buttons), place);
}

function json(value) {
  return JSON.stringify(value, null, 2);
}

function samplesOf(content) {
  if (content.examples) return Object.fromEntries(Object.entries(content.examples).map(([name, one]) => [name, follow(one).value]));
  return content.example === undefined ? {} : { sample: content.example };
}

function curl(verb, path, operation, body) {
  const filled = path.replace(/{(\w+)}/g, (_, name) =>
    encodeURIComponent((operation.parameters.find((one) => one.name === name) || {}).example || name));
  const words = [`curl -s "$WHATISUP_API${filled}"`];
  if (verb !== "get" && !(verb === "post" && body !== undefined)) words[0] = `curl -s -X ${verb.toUpperCase()} "$WHATISUP_API${filled}"`;
  const variable = { apiKey: "WHATISUP_API_KEY", adminKey: "WHATISUP_ADMIN_KEY" };
  const scheme = (operation.security || []).flatMap((one) => Object.keys(one)).find((one) => variable[one]);
  if (scheme) words.push(`-H "Authorization: Bearer $${variable[scheme]}"`);
  if (body !== undefined) {
    words.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`);
  }
  return words.join(" \\\n  ");
}

// ---- operations ----

function operation(path, verb, described) {
  const codes = Object.keys(codesOf(described.responses));
  const words = [verb, path, described.operationId, described.summary, ...codes].join(" ").toLowerCase();
  const head = [make(`span.verb.${verb.toUpperCase()}`, {}, verb.toUpperCase()), make("span.path", {}, path),
    make("span.say", {}, prose(described.summary))];
  return item("item", described.operationId, words, head, () => details(path, verb, described));
}

function details(path, verb, described) {
  const parts = [make("p.meta", {}, access(described))];
  for (const [place, title] of [["path", "In the path"], ["query", "Query"], ["header", "Headers"]]) {
    const named = (described.parameters || []).map(follow).filter((one) => one.in === place);
    if (named.length) parts.push(make("h3", {}, title), make("dl.rows", {}, named.map((one) => parameter(one))));
  }
  const content = described.requestBody && described.requestBody.content["application/json"];
  if (content) parts.push(make("h3", {}, described.requestBody.required ? "Body" : "Body, optional"), rows(content.schema, true));
  const bodies = content ? samplesOf(content) : { "": undefined };
  const lines = Object.entries(bodies).map(([name, body]) => [name, curl(verb, path, described, body)]);
  parts.push(make("h3", {}, "Try it"), choice(Object.fromEntries(lines)));
  for (const [status, response] of Object.entries(described.responses)) {
    if (Number(status) < 400) parts.push(success(status, response));
  }
  return [parts, make("h3", {}, "Errors"), errors(described.responses)];
}

function access(described) {
  const schemes = (described.security || []).flatMap((one) => Object.keys(one));
  if (!schemes.length) return "Open to everybody.";
  const known = doc.components.securitySchemes;
  const key = schemes.includes("apiKey") ? "Needs an API key" : schemes.map((one) => known[one].description).join(" ").replace(/\.$/, "");
  const scopes = (described["x-scopes"] || []).map((one) => `\`${one}\``).join(" and ");
  return prose(`${key}${scopes && ` with ${scopes}`}${schemes.includes("streamToken") ? ", or `?token=`" : ""}.`);
}

function success(status, response) {
  const content = response.content || {};
  const parts = [make("h3", {}, `Answer: ${status}`)];
  const described = content["application/json"];
  if (described && described.schema.$ref) {
    parts.push(choice(Object.fromEntries(Object.entries(samplesOf(described)).map(([name, value]) => [name, json(value)]))));
    parts.push(make("details.deep", {}, make("summary", {}, `${refName(described.schema)}: its fields`), rows(described.schema, false)));
  }
  const others = Object.entries(content).filter(([type]) => type !== "application/json");
  if (others.length) parts.push(make("dl.rows", {}, others.map(([type, one]) => make("div.row", {}, make("dt", {}, make("span.name", {}, type)), make("dd", {}, prose(one.schema.description))))));
  if (!Object.keys(content).length) parts.push(make("p", {}, "Nothing in it."));
  return parts;
}

function codesOf(responses) {
  const found = {};
  for (const [status, said] of Object.entries(responses)) {
    const response = follow(said);
    const content = response.content && response.content["application/json"];
    if (Number(status) >= 400 && content) for (const code of Object.keys(content.examples || {})) found[code] = status;
  }
  return found;
}

function errors(responses) {
  const known = doc.components.schemas.ErrorCode["x-codes"];
  const entries = Object.entries(codesOf(responses)).sort((a, b) => a[1] - b[1]);
  return make("dl.rows", {}, entries.map(([code, status]) => errorRow(code, status, known[code])));
}

function errorRow(code, status, known) {
  return make("div.row", {}, make("dt", {}, make("span.status", {}, String(status)), make("span.name", {}, code)),
    make("dd", {}, prose(known.meaning), known.retry_after_s ? ` Try again after ${known.retry_after_s} s.` : ""));
}

function item(kind, id, words, head, inside) {
  const box = make(`details.${kind}`, { id, "data-words": words });
  box.append(make("summary", {}, head));
  // Drawn when it is first opened: fifty of these with all their fields are slow on a phone.
  box.addEventListener("toggle", () => {
    if (box.open && box.children.length === 1) box.append(make("div.inside", {}, inside()));
  });
  return box;
}

// ---- the page ----

function section(title, meaning, ...inside) {
  const id = `topic-${title.toLowerCase().replaceAll(" ", "-")}`;
  document.getElementById("topics").append(make("a", { href: `#${id}` }, title));
  return make("section", {}, make("h2", { id }, title), make("p", {}, prose(meaning)), inside);
}

function events() {
  const entries = Object.entries(doc.webhooks || {}).map(([name, { post }]) => {
    const content = post.requestBody.content["application/json"];
    const payload = content.schema.allOf[1].properties.data.anyOf[0];
    return item("item.event", `event-${name}`, `event ${name} ${post.summary}`.toLowerCase(),
      [make("span.path", {}, name), make("span.say", {}, prose(post.summary))],
      () => [make("h3", {}, "In data"), rows(payload, false), make("h3", {}, "The whole event"), sample(json(content.example))]);
  });
  const headers = Object.values(doc.components.parameters || {});
  return [
    section("Every event", "The same envelope in pages, in the stream and in webhooks; what is in its `data` depends on the event.", entries),
    headers.length ? section("A delivery", "What a webhook's request carries beside the event. Answer with any 2xx within the time limit.",
      make("dl.rows", {}, headers.map(parameter))) : null,
  ];
}

function allErrors() {
  const known = Object.entries(doc.components.schemas.ErrorCode["x-codes"]).sort((a, b) => a[1].status - b[1].status || (a[0] < b[0] ? -1 : 1));
  return section("Every error", "Decide by `code`; `message` is for people. What is worth trying again says when, in `Retry-After`.",
    make("dl.rows", {}, known.map(([code, one]) => errorRow(code, one.status, one))));
}

function draw(main) {
  document.getElementById("version").textContent = doc.info.version;
  const intro = doc.info.description.trim().split(/\n\n+/).map((text) => make("p", {}, prose(text)));
  main.append(make("h1", {}, "The API"), ...intro);
  for (const tag of doc.tags) {
    const found = Object.entries(doc.paths).flatMap(([path, methods]) => VERBS.filter((verb) => methods[verb] && methods[verb].tags.includes(tag.name))
      .map((verb) => operation(path, verb, methods[verb])));
    main.append(section(tag.name, tag.description, found));
  }
  main.append(...events().filter(Boolean), allErrors());
}

function filter(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const part of document.querySelectorAll("section")) {
    const items = [...part.querySelectorAll(".item")];
    for (const one of items) one.hidden = !words.every((word) => one.dataset.words.includes(word));
    part.hidden = words.length > 0 && !items.some((one) => !one.hidden);
  }
}

function openTarget() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  if (target.tagName === "DETAILS") target.open = true;
  setTimeout(() => target.scrollIntoView(), 0);
}

async function start() {
  const state = document.getElementById("state");
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
    doc = await answer.json();
    draw(document.getElementById("top"));
  } catch (error) {
    state.textContent = `The document could not be drawn: ${error.message}. It is at /openapi.json.`;
    state.hidden = false;
    return;
  }
  const field = document.getElementById("filter");
  field.disabled = false;
  field.addEventListener("input", () => filter(field.value));
  document.addEventListener("toggle", (event) => {
    if (event.target.open && event.target.id) history.replaceState(null, "", `#${event.target.id}`);
  }, true);
  addEventListener("hashchange", openTarget);
  openTarget();
}

start();
