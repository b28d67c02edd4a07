// The web page of clinfer serve. Talks to the same OpenAI dialect as every client, by addresses relative to its own, so
// that it works below a prefix. What comes from a model or a server becomes text nodes, never markup.
"use strict";

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// ---- what is kept in the browser ----

const read = (name, otherwise) => {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
};
const write = (name, value) => {
  try {
    localStorage.setItem(name, JSON.stringify(value));
  } catch (failure) {
    showError(`This browser keeps no more: ${failure.message}. Export conversations and delete some.`);
  }
};

// A conversation: {id, title, named, messages: [{role, content, thinking, note}]}. The newest first.
let conversations = read("clinfer.conversations", []).filter(isConversation);
let settings = read("clinfer.settings", {});
let current = conversations[0] ?? null;
let running = null; // the AbortController of the answer under way

function isConversation(value) {
  return value && typeof value.id === "string" && typeof value.title === "string" && Array.isArray(value.messages) &&
    value.messages.every((message) => ["user", "assistant"].includes(message?.role) && typeof message.content === "string");
}

function keep() {
  write("clinfer.conversations", conversations);
}

// ---- the server ----

async function call(path, options = {}) {
  const headers = { ...(options.body ? { "Content-Type": "application/json" } : {}) };
  if (settings.key) headers.Authorization = `Bearer ${settings.key}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    throw new Error(`The server cannot be reached (${failure.message}). Is it still running?`);
  }
  if (response.ok) return response;
  let message = `${response.status} ${response.statusText}`;
  try {
    message = (await response.json()).error.message;
  } catch {
    // no JSON: the status has to do
  }
  if (response.status === 401) {
    openSettings();
    const key = $("settings").querySelector("[name=key]");
    key.placeholder = "The server asks for it";
    key.focus(); // it is the last of the settings, out of sight in a low window
    throw new Error(`${message}. Enter the server's key in the settings.`);
  }
  if (response.status === 429 || response.status === 503) {
    const wait = response.headers.get("Retry-After");
    message += wait ? `. Try again in ${wait} s.` : ". Try again soon.";
  }
  throw new Error(message);
}

async function loadModels() {
  try {
    const models = (await (await call("v1/models")).json()).data;
    const chosen = settings.model ?? models[0]?.id;
    $("model").replaceChildren(...models.map((model) => {
      const state = model.status?.value;
      const label = state && state !== "loaded" ? `${model.id} (${state})` : model.id;
      return make("option", { value: model.id, textContent: label, selected: model.id === chosen });
    }));
    $("state").textContent = models.length ? "" : "no model";
    hideError();
  } catch (failure) {
    showError(failure.message);
  }
}

// The context of the model that is loaded; 0: not known.
async function contextTokens() {
  try {
    return (await (await call("props")).json()).default_generation_settings?.n_ctx ?? 0;
  } catch {
    return 0;
  }
}

// Events of a stream, as objects.
async function* events(response) {
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The answer broke off: the connection to the server was lost.");
    held += decoder.decode(value, { stream: true });
    const lines = held.split("\n");
    held = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data:")) continue;
      const data = line.slice(5).trim();
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

function requestBody(messages) {
  const body = { model: $("model").value, stream: true, stream_options: { include_usage: true } };
  const names = ["temperature", "top_p", "top_k", "min_p", "repeat_penalty", "max_tokens", "seed"];
  for (const name of names) if (settings[name] !== undefined && settings[name] !== "") body[name] = Number(settings[name]);
  body.messages = messages.map(({ role, content }) => ({ role, content }));
  if (settings.system) body.messages.unshift({ role: "system", content: settings.system });
  return JSON.stringify(body);
}

async function answer() {
  const conversation = current;
  const messages = [...conversation.messages];
  const message = { role: "assistant", content: "", thinking: "", note: "" };
  conversation.messages.push(message);
  running = new AbortController();
  showRunning(true);
  hideError();
  showTalk();
  const article = $("talk").lastElementChild;
  let facts = {}, drawn = true;
  const draw = () => {
    drawn = true;
    if (running) showMessage(article, message, conversation, false);
  };
  try {
    const response = await call("v1/chat/completions",
      { method: "POST", body: requestBody(messages), signal: running.signal });
    for await (const event of events(response)) {
      const delta = event.choices?.[0]?.delta ?? {};
      message.thinking += delta.reasoning_content ?? "";
      message.content += delta.content ?? "";
      if (event.choices?.[0]?.finish_reason === "length") message.note = "cut at the longest length";
      facts = { ...facts, ...pick(event, ["usage", "timings", "route", "model"]) };
      if (drawn) requestAnimationFrame(draw); // once for all that comes until the next picture
      drawn = false;
    }
  } catch (failure) {
    if (failure.name === "AbortError") message.note = "stopped";
    else {
      message.note = "broke off";
      showError(failure.message);
    }
  }
  running = null;
  if (!message.content && !message.thinking) conversation.messages.pop();
  showRunning(false);
  keep();
  if (conversation === current) showTalk();
  await showFacts(facts);
  $("question").focus();
}

const pick = (object, names) => Object.fromEntries(names.filter((name) => object[name]).map((name) => [name, object[name]]));

async function showFacts({ usage, timings, route, model }) {
  const parts = [];
  if (timings?.predicted_per_second) parts.push(`${timings.predicted_per_second.toFixed(1)} tokens/s`);
  if (timings?.prompt_per_second) parts.push(`prompt ${timings.prompt_per_second.toFixed(0)} tokens/s`);
  if (usage) {
    const most = await contextTokens();
    parts.push(`context ${usage.total_tokens}${most ? ` of ${most}` : ""} tokens`);
  }
  if (route) parts.push(`answered by ${route}`);
  else if (model) parts.push(model);
  $("facts").textContent = parts.join(" · ");
}

// ---- Markdown, as far as models write it, into nodes ----

function inline(text, into) {
  const pattern = /`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/g;
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    into.append(text.slice(at, match.index));
    if (match[1]) into.append(make("code", { textContent: match[1] }));
    else if (match[2]) into.append(make("strong", { textContent: match[2] }));
    else if (match[3]) into.append(make("em", { textContent: match[3] }));
    else into.append(make("a", { href: match[5], textContent: match[4], rel: "noopener noreferrer", target: "_blank" }));
    at = match.index + match[0].length;
  }
  into.append(text.slice(at));
  return into;
}

function codeBlock(text, language) {
  const copy = make("button", { type: "button", textContent: "Copy" });
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Not allowed";
    }
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  const pre = make("pre", { tabIndex: 0, ariaLabel: language ? `code, ${language}` : "code" }, make("code", { textContent: text }));
  return make("div", { className: "code" }, pre, copy);
}

function tableOf(rows) {
  const cells = (row) => row.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const table = make("table");
  table.append(make("tr", {}, ...cells(rows[0]).map((cell) => inline(cell, make("th", { scope: "col" })))));
  for (const row of rows.slice(2)) table.append(make("tr", {}, ...cells(row).map((cell) => inline(cell, make("td")))));
  return table;
}

// Lines from `at` on that `test` takes.
function linesWhile(lines, at, test) {
  let end = at;
  while (end < lines.length && test(lines[end])) end++;
  return lines.slice(at, end);
}

function markdown(text) {
  const into = make("div", { className: "body" });
  const lines = text.split("\n");
  const isBullet = (line) => /^\s*[-*+] /.test(line), isNumber = (line) => /^\s*\d+[.)] /.test(line);
  for (let i = 0; i < lines.length;) {
    const line = lines[i];
    const fence = line.match(/^\s*(```+|~~~+)\s*([\w+#.-]*)/);
    const heading = line.match(/^(#{1,6})\s+(.*)/);
    if (fence) {
      const code = linesWhile(lines, i + 1, (other) => !other.trim().startsWith(fence[1]));
      into.append(codeBlock(code.join("\n"), fence[2]));
      i += code.length + 2;
    } else if (heading) {
      into.append(inline(heading[2], make(`h${Math.min(6, heading[1].length + 2)}`)));
      i++;
    } else if (/^\s*\|.*\|\s*$/.test(line) && /^[\s|:-]+$/.test(lines[i + 1] ?? "x")) {
      const rows = linesWhile(lines, i, (other) => /^\s*\|.*\|\s*$/.test(other));
      into.append(tableOf(rows));
      i += rows.length;
    } else if (isBullet(line) || isNumber(line)) {
      const isItem = isBullet(line) ? isBullet : isNumber;
      const items = linesWhile(lines, i, isItem);
      const list = make(isItem === isBullet ? "ul" : "ol");
      if (isItem === isNumber) list.start = parseInt(line, 10);
      list.append(...items.map((item) => inline(item.replace(/^\s*([-*+]|\d+[.)]) /, ""), make("li"))));
      into.append(list);
      i += items.length;
    } else if (/^\s*>/.test(line)) {
      const quoted = linesWhile(lines, i, (other) => /^\s*>/.test(other));
      into.append(inline(quoted.map((other) => other.replace(/^\s*> ?/, "")).join("\n"), make("blockquote")));
      i += quoted.length;
    } else if (!line.trim()) {
      i++;
    } else {
      const isPlain = (other) => other.trim() && !/^\s*(```|~~~|>|#{1,6}\s)/.test(other) && !isBullet(other) && !isNumber(other);
      const paragraph = linesWhile(lines, i, isPlain);
      const element = make("p");
      paragraph.forEach((part, n) => {
        if (n) element.append(make("br"));
        inline(part, element);
      });
      into.append(element);
      i += Math.max(1, paragraph.length);
    }
  }
  return into;
}

// ---- what is shown ----

function showError(text) {
  $("error").textContent = text;
  $("error").hidden = false;
}
function hideError() {
  $("error").hidden = true;
}

function showRunning(is) {
  $("send").hidden = is;
  $("stop").hidden = !is;
  $("talk").setAttribute("aria-busy", String(is));
  $("state").textContent = is ? "answering" : "";
}

const button = (text, action) => {
  const element = make("button", { type: "button", textContent: text });
  element.addEventListener("click", action);
  return element;
};

// An answer, or a question, with what can be done with it when nothing is under way.
function showMessage(article, message, conversation, whole) {
  const atEnd = nearEnd();
  const opened = article.querySelector("details")?.open ?? false;
  const parts = [];
  if (message.thinking) {
    const thinking = make("details", { className: "thinking", open: opened },
      make("summary", { textContent: whole || message.content ? "Thought" : "Thinking" }),
      make("div", { textContent: message.thinking }));
    parts.push(thinking);
  }
  parts.push(message.role === "user" ? make("div", { className: "body", textContent: message.content }) : markdown(message.content));
  if (whole) {
    const footer = make("footer");
    const index = conversation.messages.indexOf(message);
    if (message.note) footer.append(make("span", { textContent: message.note }));
    footer.append(button("Copy", () => navigator.clipboard?.writeText(message.content)));
    if (message.role === "user") footer.append(button("Edit", () => edit(conversation, index)));
    else if (index === conversation.messages.length - 1) footer.append(button("Regenerate", () => regenerate(conversation)));
    parts.push(footer);
  }
  article.replaceChildren(...parts);
  if (atEnd) $("talk").scrollTop = $("talk").scrollHeight;
}

function nearEnd() {
  const talk = $("talk");
  return talk.scrollHeight - talk.scrollTop - talk.clientHeight < 80;
}

function showTalk() {
  const messages = current?.messages ?? [];
  $("talk").replaceChildren(...messages.map((message, n) => {
    const article = make("article", { className: message.role, ariaLabel: message.role === "user" ? "You" : "Answer" });
    if (message.role === "assistant" && n === messages.length - 1) article.setAttribute("aria-live", "polite");
    return article;
  }));
  messages.forEach((message, n) => showMessage($("talk").children[n], message, current, !(running && n === messages.length - 1)));
  if (!messages.length) $("talk").append(make("p", { className: "empty", textContent: "Ask something. It is answered on your own machine." }));
  $("talk").scrollTop = $("talk").scrollHeight;
  showList();
}

function showList() {
  const wanted = $("search").value.toLowerCase();
  const holds = (conversation) => conversation.title.toLowerCase().includes(wanted) ||
    conversation.messages.some((message) => message.content.toLowerCase().includes(wanted));
  $("list").replaceChildren(...conversations.filter(holds).map((conversation) => {
    const title = make("button", { type: "button", className: "title", textContent: conversation.title, title: conversation.title });
    if (conversation === current) title.setAttribute("aria-current", "true");
    title.addEventListener("click", () => open(conversation));
    const rename = make("button", { type: "button", textContent: "✎", ariaLabel: `Rename ${conversation.title}` });
    rename.addEventListener("click", () => {
      const name = prompt("Name of this conversation", conversation.title)?.trim();
      if (name) Object.assign(conversation, { title: name, named: true });
      keep();
      showList();
    });
    const remove = make("button", { type: "button", textContent: "✕", ariaLabel: `Delete ${conversation.title}` });
    remove.addEventListener("click", () => {
      if (!confirm(`Delete "${conversation.title}"?`)) return;
      if (conversation === current) stop();
      conversations = conversations.filter((other) => other !== conversation);
      if (conversation === current) current = conversations[0] ?? null;
      keep();
      showTalk();
    });
    return make("li", { className: conversation === current ? "now" : "" }, title, rename, remove);
  }));
}

// ---- what the user does ----

function open(conversation) {
  if (conversation !== current) stop();
  current = conversation;
  hideError();
  $("facts").textContent = "";
  showMenu(false);
  showTalk();
  $("question").focus();
}

function stop() {
  running?.abort();
}

function showMenu(is) {
  $("side").classList.toggle("open", is);
  $("menu").setAttribute("aria-expanded", String(is));
}

function ask(text) {
  if (!current) {
    current = { id: crypto.randomUUID?.() ?? String(Date.now()), title: "", named: false, messages: [] };
    conversations.unshift(current);
  }
  if (!current.messages.length && !current.named) current.title = text.slice(0, 60);
  current.messages.push({ role: "user", content: text });
  keep();
  answer();
}

function regenerate(conversation) {
  if (running) return;
  conversation.messages.pop();
  answer();
}

// The question goes back to where it was typed; what came after it is left.
function edit(conversation, index) {
  if (running) return;
  $("question").value = conversation.messages[index].content;
  conversation.messages.length = index;
  keep();
  showTalk();
  fit();
  $("question").focus();
}

function fit() {
  const field = $("question");
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}

function openSettings() {
  const form = $("settings").querySelector("form");
  for (const field of form.elements) if (field.name) field.value = settings[field.name] ?? "";
  if (!$("settings").open) $("settings").showModal();
}

async function importFile(file) {
  try {
    const found = JSON.parse(await file.text());
    const taken = (Array.isArray(found) ? found : []).filter(isConversation);
    if (!taken.length) throw new Error("no conversations in it");
    const known = new Set(conversations.map((conversation) => conversation.id));
    conversations.unshift(...taken.filter((conversation) => !known.has(conversation.id)));
    current = conversations[0];
    keep();
    showTalk();
  } catch (failure) {
    showError(`${file.name} cannot be imported: ${failure.message}.`);
  }
}

function exportAll() {
  const address = URL.createObjectURL(new Blob([JSON.stringify(conversations, null, 1)], { type: "application/json" }));
  make("a", { href: address, download: "clinfer-conversations.json" }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

$("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("question").value.trim();
  if (!text || running) return;
  $("question").value = "";
  fit();
  ask(text);
});
$("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});
$("question").addEventListener("input", fit);
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || $("settings").open) return;
  if (running) stop();
  else showMenu(false);
});
$("stop").addEventListener("click", stop);
$("new").addEventListener("click", () => open(null));
$("menu").addEventListener("click", () => showMenu(!$("side").classList.contains("open")));
$("search").addEventListener("input", showList);
$("export").addEventListener("click", exportAll);
$("import").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  if ($("file").files[0]) importFile($("file").files[0]);
  $("file").value = "";
});
$("model").addEventListener("change", () => {
  settings.model = $("model").value;
  write("clinfer.settings", settings);
});
$("settings-open").addEventListener("click", openSettings);
$("settings").addEventListener("close", () => {
  if ($("settings").returnValue !== "save") return;
  for (const field of $("settings").querySelector("form").elements) {
    if (!field.name) continue;
    if (field.value === "") delete settings[field.name];
    else settings[field.name] = field.value;
  }
  write("clinfer.settings", settings);
  loadModels();
});

showTalk();
loadModels();
