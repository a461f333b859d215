"use strict";

const find = (id) => document.getElementById(id);
const form = find("brief");
const data = JSON.parse(find("data").textContent);
let start = {}; // the brief that the form was filled from; what has no field in the form stays as it is
let links = []; // addresses of what is shown, to be given back
let request = null;

function element(tag, values, ...children) {
  const made = Object.assign(document.createElement(tag), values);
  made.append(...children);
  return made;
}

function valueAt(brief, path) {
  return path.split(".").reduce((part, name) => part?.[name], brief);
}

function setAt(brief, path, value) {
  const names = path.split(".");
  const last = names.pop();
  let part = brief;
  for (const name of names) part = part[name] ??= {};
  if (value === undefined) delete part[last];
  else part[last] = value;
}

function addRoom(room) {
  const row = element("div", { className: "room" });
  row.room = room; // what has no field in the row stays as it is
  for (const [name, text, kind] of [["type", "Room", "text"], ["count", "How many", "number"], ["minArea", "At least, area", "number"]]) {
    const input = element("input", { type: kind, value: room[name] ?? "" });
    input.dataset.name = name;
    if (name === "type") input.setAttribute("list", "room-types");
    else Object.assign(input, { min: name === "count" ? 1 : 0, step: name === "count" ? 1 : "any" });
    row.append(element("p", {}, element("label", {}, text, input)));
  }
  const remove = element("button", { type: "button", textContent: "Remove" });
  remove.addEventListener("click", () => {
    const next = row.nextElementSibling?.querySelector("input") ?? find("add-room");
    row.remove();
    numberRooms();
    next.focus();
  });
  row.append(element("p", {}, remove));
  find("room-rows").append(row);
  numberRooms();
  return row;
}

function numberRooms() {
  [...find("room-rows").children].forEach((row, number) => {
    for (const input of row.querySelectorAll("input")) input.name = `roomBreakdown.${number}.${input.dataset.name}`;
    row.querySelector("button").setAttribute("aria-label", `Remove room ${number + 1}`);
  });
}

function fill(brief) {
  start = brief;
  for (const input of form.querySelectorAll("fieldset:not(#rooms) [name]")) input.value = valueAt(brief, input.name) ?? "";
  find("room-rows").replaceChildren();
  (brief.roomBreakdown ?? []).forEach(addRoom);
  showProblems([]);
}

function read(input) {
  if (input.validity.badInput) return "not a number";
  if (input.value.trim() === "") return undefined;
  return input.type === "number" ? Number(input.value) : input.value.trim();
}

function collect() {
  const brief = structuredClone(start);
  for (const input of form.querySelectorAll("fieldset:not(#rooms) [name]")) setAt(brief, input.name, read(input));
  brief.roomBreakdown = [...find("room-rows").children].map((row) => {
    const room = structuredClone(row.room);
    for (const input of row.querySelectorAll("input")) setAt(room, input.dataset.name, read(input));
    return room;
  });
  return brief;
}

function inputOf(field) {
  const named = [...form.querySelectorAll("[name]")];
  return named.find((input) => input.name === field) ?? named.find((input) => input.name.startsWith(`${field}.`));
}

function showProblems(problems, heading = "This brief cannot be used:") {
  for (const input of form.querySelectorAll("[aria-invalid]")) {
    input.removeAttribute("aria-invalid");
    input.removeAttribute("aria-describedby");
  }
  const list = element("ul", {});
  problems.forEach(({ field, message }, number) => {
    const input = inputOf(field);
    list.append(element("li", { id: `problem-${number}`, textContent: message }));
    input?.setAttribute("aria-invalid", "true");
    input?.setAttribute("aria-describedby", `problem-${number}`);
  });
  find("problems").replaceChildren(...(problems.length ? [element("p", { textContent: heading }), list] : []));
  form.querySelector("[aria-invalid]")?.focus();
}

function link(id, text, type) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  links.push(address);
  if (id) find(id).href = address;
  return address;
}

function showDesign(result) {
  const json = JSON.stringify(result.design, null, 2);
  const area = result.design.total_area;
  const parts = [`Made by ${result.model} in ${result.seconds} s`];
  if (area) parts.push(`${area.toLocaleString()} square feet`);
  find("summary").textContent = `${parts.join("; ")}.`;
  find("doubts").replaceChildren(...result.doubts.map((text) => element("li", { textContent: text })));
  find("plan").src = link("save-svg", result.plan_svg, "image/svg+xml");
  find("plan").alt = result.plan_text;
  link("save-json", `${json}\n`, "application/json");
  find("json").textContent = json;
  const { kept, checked } = result.rules;
  find("kept").textContent = checked ? `${kept} of the ${checked} rules that apply are kept.` : "No rule applies to this design.";
  find("findings").replaceChildren(...result.findings.map(({ rule, kind, text }) =>
    element("li", { className: kind === "hard" ? "wrong" : "" }, element("b", { textContent: `${rule}, ${kind}: ` }), text)));
  find("result").hidden = false;
  find("result-heading").focus();
}

function showFailure(message, text) {
  find("failure-text").textContent = message;
  find("raw").textContent = text ?? "";
  find("raw-part").hidden = text === undefined;
  find("failure").hidden = false;
  find("failure-heading").focus();
}

function clear() {
  links.forEach((address) => URL.revokeObjectURL(address));
  links = [];
  find("result").hidden = find("failure").hidden = true;
  find("status").textContent = "";
  showProblems([]);
}

function showProgress(health, seconds) {
  const bar = find("progress");
  const each = health.seconds_each;
  if (each && !health.waiting) bar.value = Math.min(0.98, seconds / each);
  else bar.removeAttribute("value");
  const line = health.waiting ? `${health.waiting + 1} designs are in line, one is made at a time` : "Designing";
  const last = each ? `; the last design took ${Math.round(each)} s` : "";
  find("status").textContent = `${line}: ${Math.round(seconds)} s so far${last}.`;
}

function watch() {
  const began = performance.now();
  const look = async () => {
    try {
      const health = await (await fetch("health")).json();
      if (request) showProgress(health, (performance.now() - began) / 1000);
    } catch (error) {
      find("status").textContent = "The server does not answer.";
    }
  };
  look();
  return setInterval(look, 2000);
}

function setBusy(busy) {
  find("design").disabled = busy;
  find("cancel").hidden = find("waiting").hidden = !busy;
}

async function ask(brief) {
  const headers = { "Content-Type": "application/json" };
  if (find("token").value) headers.Authorization = `Bearer ${find("token").value}`;
  const response = await fetch("design", { method: "POST", headers, body: JSON.stringify({ brief }), signal: request.signal });
  return [response.status, await response.json()];
}

function showAnswer(status, values) {
  find("status").textContent = "";
  if (status === 200) return showDesign(values);
  if (status === 422 && values.problems?.length) return showProblems(values.problems);
  if (status === 401) {
    find("token-row").hidden = false;
    find("token").focus();
  }
  return showFailure(values.kind ? `${values.kind}: ${values.error}` : values.error, values.text);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (request) return;
  clear();
  request = new AbortController();
  setBusy(true);
  const watching = watch();
  let answer = null;
  try {
    answer = await ask(collect());
  } catch (error) {
    find("status").textContent = "";
    if (error.name === "AbortError") find("status").textContent = "You stopped waiting.";
    else showFailure(`The server cannot be reached, or has ended: ${error.message}`);
  } finally {
    clearInterval(watching);
    request = null;
    setBusy(false);
  }
  if (answer) showAnswer(...answer);
});

find("cancel").addEventListener("click", () => request?.abort());
find("add-room").addEventListener("click", () => addRoom({}).querySelector("input").focus());
find("example").addEventListener("change", () => fill(data.examples[find("example").value].brief));
data.examples.forEach(({ name }, number) => find("example").append(element("option", { value: number, textContent: name })));
for (const [id, words] of [["styles", data.styles], ["room-types", data.rooms]]) {
  find(id).append(...words.map((value) => element("option", { value })));
}
fill(data.examples[0].brief);
fetch("health").then((response) => response.json()).then(({ token }) => { find("token-row").hidden = !token; });
