// <button data-opens="id"> opens a <dialog>; [data-closes] inside it closes it; a click beside it too.
// What htmx puts into #dialog opens there: <a href="/x" hx-get="/x" hx-target="#dialog">.

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-opens]");
  const dialog = opener && document.getElementById(opener.dataset.opens);
  if (dialog) {
    event.preventDefault();
    dialog.showModal();
  }
  const closed = event.target.closest("[data-closes]")?.closest("dialog");
  if (closed) {
    event.preventDefault();
    closed.close();
  }
});

document.addEventListener("mousedown", (event) => {
  if (event.target.tagName === "DIALOG" && event.target.open && outside(event.target, event)) event.target.close();
});

document.addEventListener("htmx:afterSwap", ({ detail: { target } }) => {
  if (target.id !== "dialog") return;
  const heading = target.querySelector("h2");
  if (heading) target.setAttribute("aria-labelledby", (heading.id ||= "dialog-title"));
  if (!target.open) target.showModal();
});

document.addEventListener("close", ({ target }) => target.id === "dialog" && target.replaceChildren(), true);

function outside(dialog, { clientX, clientY }) {
  const box = dialog.getBoundingClientRect();
  return clientX < box.left || clientX > box.right || clientY < box.top || clientY > box.bottom;
}
