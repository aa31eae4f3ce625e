"""How the page of `plan --html` looks, and what its script does. Text, not files: an installed pyrunc has none of data.

Colours are named once for light and once for dark; a test computes the contrast of every pair that is used. The page is
whole without the script, which finds steps and moves among them.
"""

STYLE = """
:root {
  --paper: #fbfbf9; --card: #ffffff; --ink: #1d2126; --soft: #565e68; --line: #d9dce0; --code: #f1f2f4;
  --runtime: #0b5c8a; --runtime-back: #e7f1f8; --container: #8a4b08; --container-back: #fbf0e2;
  --link: #0a58a8; --focus: #0a58a8; --warn: #8c2f24; --warn-back: #fdecea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --card: #1c2026; --ink: #e6e9ed; --soft: #a3acb8; --line: #363d47; --code: #12151a;
    --runtime: #7cc0ec; --runtime-back: #142b3b; --container: #eeb26a; --container-back: #35260f;
    --link: #8ab8f2; --focus: #8ab8f2; --warn: #f4a79d; --warn-back: #3b1a17;
  }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 7rem; }
body {
  margin: 0 auto; padding: 0 1.25rem 3rem; max-width: 78rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif;
  overflow-wrap: anywhere;
}
code, pre, kbd, .kind { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", monospace; font-size: 0.875em; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--focus); outline-offset: 2px; border-radius: 4px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { left: 1rem; top: 0.5rem; z-index: 3; background: var(--card); padding: 0.5rem 1rem; }

header { padding-top: 2rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 0.5rem; letter-spacing: -0.01em; }
header p { max-width: 46rem; color: var(--soft); margin: 0 0 1rem; }
header dl { margin: 0 0 1.25rem; display: grid; gap: 0.25rem; }
header dl div { display: grid; grid-template-columns: 6rem 1fr; gap: 0 1rem; }
dt { color: var(--soft); }
dd { margin: 0; }
.warnings {
  background: var(--warn-back); color: var(--warn); border-radius: 8px; padding: 0.75rem 1.25rem; margin-bottom: 1rem;
}
.warnings h2 { font-size: 1rem; margin: 0; }
.warnings ul { margin: 0.25rem 0 0; padding-left: 1.25rem; }

nav ol { list-style: none; margin: 0 0 0.5rem; padding: 0; display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; }

.finder {
  position: sticky; top: 0; z-index: 2; background: var(--paper); border-bottom: 1px solid var(--line);
  padding: 0.75rem 0 0.5rem; display: flex; flex-wrap: wrap; gap: 0.4rem 0.75rem; align-items: center;
}
.finder[hidden] { display: none; }
.finder label { font-weight: 600; }
.finder input {
  flex: 1 1 14rem; font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--soft);
  border-radius: 6px; padding: 0.35rem 0.6rem;
}
.finder input::placeholder { color: var(--soft); opacity: 1; }
.finder output { min-width: 6.5rem; color: var(--soft); }
.finder button {
  font: inherit; color: var(--ink); background: var(--card); border: 1px solid var(--soft); border-radius: 6px;
  padding: 0.35rem 0.75rem; cursor: pointer;
}
.finder p { flex-basis: 100%; margin: 0; font-size: 0.875rem; color: var(--soft); }
kbd { border: 1px solid var(--line); border-radius: 4px; padding: 0 0.3em; background: var(--card); }

.lanes, .together { display: grid; grid-template-columns: 1fr 1fr; gap: 0 3rem; }
.lanes { margin-top: 1.5rem; font-weight: 600; }
.lanes .runtime { color: var(--runtime); }
.lanes .container { color: var(--container); }
.phase h2 { font-size: 1.2rem; margin: 1.75rem 0 0; }
.phase > p { margin: 0 0 0.75rem; color: var(--soft); }
.phase > p.meeting { color: var(--ink); }

.lane { list-style: none; margin: 0; padding: 0.25rem 0 0.25rem 1rem; border-left: 3px solid; min-width: 0; }
.lane.runtime { border-color: var(--runtime); }
.lane.container { border-color: var(--container); }
.lane.idle { border-left-style: dotted; color: var(--soft); font-style: italic; }
.lane.idle span { position: sticky; top: 8rem; }
.lane li { margin: 0.3rem 0; }
details { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
summary {
  display: grid; grid-template-columns: 0.7rem 1.5rem 1fr auto; gap: 0 0.6rem; align-items: baseline; cursor: pointer;
  padding: 0.4rem 0.7rem; list-style: none; border-radius: 8px;
}
summary::-webkit-details-marker { display: none; }
summary::before {
  content: ""; width: 0.5rem; height: 0.5rem; border: solid var(--soft); border-width: 0 2px 2px 0; align-self: start;
  transform: rotate(-45deg); margin: 0.45rem 0 0 0.1rem;
}
details[open] > summary::before { transform: rotate(45deg); margin-top: 0.35rem; }
.number { color: var(--soft); text-align: right; font-variant-numeric: tabular-nums; }
.kind { font-size: 0.78rem; padding: 0.05rem 0.45rem; border-radius: 999px; max-width: 15rem; text-align: right; }
.runtime summary:hover { background: var(--runtime-back); }
.container summary:hover { background: var(--container-back); }
.runtime .kind { color: var(--runtime); background: var(--runtime-back); }
.container .kind { color: var(--container); background: var(--container-back); }
details[open] > summary { border-bottom: 1px solid var(--line); border-radius: 8px 8px 0 0; }
details dl { margin: 0; padding: 0.6rem 0.9rem 0.8rem 4.1rem; display: grid; gap: 0.1rem 0; }
details dt { font-size: 0.8rem; margin-top: 0.4rem; }
details dd p { margin: 0.25rem 0 0; color: var(--soft); }
details ul { margin: 0; padding-left: 1.1rem; font-size: 0.9rem; }
pre {
  margin: 0.35rem 0 0; padding: 0.5rem 0; background: var(--code); border-radius: 6px; max-height: 24rem;
  overflow: auto; line-height: 1.45; overflow-wrap: normal;
}
.line { display: grid; grid-template-columns: 3.2rem 1fr; }
.line > :last-child { white-space: pre-wrap; overflow-wrap: anywhere; padding-right: 0.75rem; }
.no { color: var(--soft); text-align: right; padding-right: 0.8rem; user-select: none; }
pre i { color: var(--soft); }

.meeting { display: flex; align-items: center; margin: 0.5rem 0 !important; text-align: center; }
.meeting span { padding: 0.15rem 0.8rem; max-width: 36rem; }
.meeting b { font-weight: 600; }
.meeting::before, .meeting::after {
  content: ""; flex: 1 1 1.5rem; min-width: 1.5rem; height: 16px;
  background: linear-gradient(var(--who), var(--who)) center / 100% 3px no-repeat;
}
.from-runtime { --who: var(--runtime); }
.from-container { --who: var(--container); }
.from-runtime b:first-child, .from-container b + b { color: var(--runtime); }
.from-container b:first-child, .from-runtime b + b { color: var(--container); }
/* The head of the arrow, at the side of who has waited. */
.from-runtime::after { background: linear-gradient(var(--who), var(--who)) left / calc(100% - 12px) 3px no-repeat,
  conic-gradient(from -120deg at 100% 50%, var(--who) 60deg, transparent 0) right / 18px 16px no-repeat; }
.from-container::before { background: linear-gradient(var(--who), var(--who)) right / calc(100% - 12px) 3px no-repeat,
  conic-gradient(from 60deg at 0 50%, var(--who) 60deg, transparent 0) left / 18px 16px no-repeat; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); color: var(--soft); }

@media (max-width: 50rem) {
  .lanes, .together { grid-template-columns: 1fr; gap: 0.25rem; }
  .lane.container { margin-left: 1.25rem; }
  summary { grid-template-columns: 0.7rem 1.5rem 1fr; }
  .kind { grid-column: 3; justify-self: start; text-align: left; max-width: 100%; }
  details dl { padding-left: 0.9rem; }
  header dl div { grid-template-columns: 1fr; }
  .finder p { display: none; }
}
@media print {
  .finder, nav { display: none; }
  details, .meeting { break-inside: avoid; }
}
"""

SCRIPT = """
"use strict";
(function () {
  const finder = document.querySelector(".finder"), find = document.getElementById("find");
  const count = document.getElementById("count");
  const steps = Array.from(document.querySelectorAll(".lane > li"));
  const texts = steps.map(function (step) { return step.textContent.toLowerCase(); });
  function look() {
    const words = find.value.toLowerCase().split(/\\s+/).filter(Boolean);
    let shown = 0;
    steps.forEach(function (step, at) {
      const fits = words.every(function (word) { return texts[at].includes(word); });
      step.hidden = !fits;
      shown += fits ? 1 : 0;
    });
    document.body.classList.toggle("found", words.length > 0);
    count.textContent = words.length ? shown + " of " + steps.length + " steps" : steps.length + " steps";
  }
  function open(all) {
    steps.forEach(function (step) { if (!step.hidden) { step.firstElementChild.open = all; } });
  }
  function move(by) {
    const shown = steps.filter(function (step) { return !step.hidden; });
    const at = shown.findIndex(function (step) { return step.contains(document.activeElement); });
    const next = shown[at < 0 ? (by > 0 ? 0 : shown.length - 1) : at + by];
    if (next) { next.querySelector("summary").focus(); }
  }
  function target() {
    const step = document.getElementById(location.hash.slice(1));
    if (step && step.matches(".lane > li")) {
      step.firstElementChild.open = true;
      step.scrollIntoView();
    }
  }
  find.addEventListener("input", look);
  document.getElementById("open").addEventListener("click", function () { open(true); });
  document.getElementById("close").addEventListener("click", function () { open(false); });
  document.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.altKey || event.metaKey) { return; }
    if (event.key === "Escape" && find.value) { find.value = ""; look(); return; }
    if (event.target === find) {
      if (event.key === "Enter" || event.key === "ArrowDown") { event.preventDefault(); move(1); }
      return;
    }
    if (event.key === "/") { event.preventDefault(); find.focus(); find.select(); }
    if (event.key === "j") { move(1); }
    if (event.key === "k") { move(-1); }
  });
  window.addEventListener("hashchange", target);
  finder.hidden = false;
  look();
  target();
})();
"""
