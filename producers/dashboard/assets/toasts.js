// toast("Copied") says something for a moment; what htmx could not fetch is said too.

const SHOWN_MS = 6000;

export function toast(text, kind = "info") {
  const place = document.getElementById(kind === "error" ? "alerts" : "toasts");
  const element = Object.assign(document.createElement("p"), { className: `toast ${kind}`, textContent: text });
  place.append(element);
  setTimeout(() => element.remove(), SHOWN_MS);
}

// What asks again by itself has nothing to say where that fails once.
const asksAgain = ({ detail: { elt } }) => elt?.getAttribute("hx-trigger")?.includes("every");

document.addEventListener("htmx:sendError", (event) => asksAgain(event) || toast("The gateway cannot be reached. Try again in a moment.", "error"));
document.addEventListener("htmx:timeout", (event) => asksAgain(event) || toast("The gateway takes too long to answer. Try again.", "error"));
document.addEventListener("htmx:responseError", (event) => {
  if (asksAgain(event)) return;
  const { xhr } = event.detail;
  const said = xhr.getResponseHeader("Foldline-Message");
  if (!xhr.getResponseHeader("HX-Redirect")) toast(said ? decodeURIComponent(said) : `That failed (${xhr.status}). Try again.`, "error");
});
