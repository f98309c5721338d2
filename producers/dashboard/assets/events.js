// Server-sent events over a connection that heals.
//
// follow(url, {event: (data, id) => …}, (state) => …) returns {close}. The state is "live" or "lost"; a url that is a function is
// asked for anew with each connection.
// <div data-events="/url"> without a line of script: of an event with the name of an id below it (or of itself), the data are
// the HTML that replaces what is inside that element; the event "end" closes the connection, "reload" loads the page anew.

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;

export function follow(url, handlers, onState = () => {}) {
  let source;
  let timer;
  let retryMs = FIRST_RETRY_MS;
  const open = () => {
    source = new EventSource(typeof url === "function" ? url() : url);
    source.onopen = () => {
      retryMs = FIRST_RETRY_MS;
      onState("live");
    };
    source.onerror = () => {
      source.close();
      onState("lost");
      clearTimeout(timer);
      timer = setTimeout(open, retryMs * (0.75 + Math.random() / 2));
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS);
    };
    for (const [name, handle] of Object.entries(handlers)) source.addEventListener(name, ({ data, lastEventId }) => handle(data, lastEventId));
  };
  const close = () => {
    clearTimeout(timer);
    source.close();
  };
  const again = () => {
    if (source.readyState !== EventSource.CLOSED) return;
    clearTimeout(timer);
    open();
  };
  addEventListener("online", again);
  document.addEventListener("visibilitychange", () => !document.hidden && again());
  addEventListener("pagehide", close);
  addEventListener("pageshow", ({ persisted }) => persisted && again());
  open();
  return { close };
}

function connect(element) {
  if (element.followed) return;
  const names = [element, ...element.querySelectorAll("[id]")].map(({ id }) => id).filter(Boolean);
  const swap = (id) => (html) => {
    const target = document.getElementById(id);
    if (!target || target.innerHTML === html) return;
    target.innerHTML = html;
    globalThis.htmx?.process(target);
  };
  const handlers = Object.fromEntries(names.map((id) => [id, swap(id)]));
  handlers.end = () => element.followed.close();
  handlers.reload = () => location.reload();
  element.followed = follow(element.dataset.events, handlers, (state) => (element.dataset.connection = state));
}

const connectAll = (root) => {
  if (root.matches?.("[data-events]")) connect(root);
  root.querySelectorAll("[data-events]").forEach(connect);
};
connectAll(document);
document.addEventListener("htmx:afterSwap", ({ detail: { target } }) => connectAll(target));
