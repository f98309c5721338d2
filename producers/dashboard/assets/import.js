// An import's page as it changes: each piece is replaced when the server sends it anew, and what was focused stays so.

import { follow } from "./events.js";
import { connectUploads } from "./upload.js";

const LOST_MS = 1500; // a stream that ends is begun anew sooner
const PIECES = ["head", "progress", "body"];

function replace(element, html) {
  const { activeElement } = document;
  const inside = element.contains(activeElement) ? activeElement : undefined;
  element.innerHTML = html;
  globalThis.htmx?.process(element);
  connectUploads(element);
  if (inside) (refound(element, inside) ?? document.getElementById("main")).focus({ preventScroll: true });
}

function refound(element, { id, name, value, textContent, tagName }) {
  if (id) return document.getElementById(id);
  return [...element.querySelectorAll(tagName)].find((other) => other.name === name && other.value === value && other.textContent === textContent);
}

function tell(page) {
  const said = page.querySelector("[data-said]").dataset.said;
  const place = document.getElementById("import-said");
  if (place.textContent !== said) place.textContent = said;
}

function connect(page) {
  let { seen } = page.dataset;
  const lost = page.querySelector("[data-lost]");
  const handlers = Object.fromEntries(
    PIECES.map((name) => [
      name,
      (html, id) => {
        seen = id;
        replace(document.getElementById(`import-${name}`), html);
        tell(page);
      },
    ]),
  );
  handlers.end = () => followed.close();
  let timer;
  const onState = (state) => {
    if (state === "lost") timer ??= setTimeout(() => (lost.hidden = false), LOST_MS);
    else timer = clearTimeout(timer);
    lost.hidden ||= state === "live";
  };
  const followed = follow(() => `${page.dataset.import}?seen=${encodeURIComponent(seen)}`, handlers, onState);
}

for (const page of document.querySelectorAll("[data-import]:not([data-over])")) connect(page);
