// Server-sent events over a connection that heals.
//
// follow(url, {event: (data, id) => …}, (state) => …) returns {close}. The state is "live" or "lost"; a url that is a function is
// asked for anew with each connection.

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;

export function follow(url, handlers, onState = () => {}) {
  let source;
  let timer;
  let closed = false;
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
  const pause = () => {
    clearTimeout(timer);
    source.close();
  };
  const again = () => {
    if (closed || source.readyState !== EventSource.CLOSED) return;
    clearTimeout(timer);
    open();
  };
  addEventListener("online", again);
  // A browser has six connections to a site at most: a page that nobody sees holds none.
  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : again()));
  addEventListener("pagehide", pause);
  addEventListener("pageshow", ({ persisted }) => persisted && again());
  open();
  return {
    close() {
      closed = true;
      pause();
    },
  };
}
