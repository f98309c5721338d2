// <button data-copy="text"> or data-copy-from="id": puts the text on the clipboard and says so.

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy], [data-copy-from]");
  if (!button) return;
  const source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
  const text = source ? (source.value ?? source.textContent) : button.dataset.copy;
  const copied = await write(text);
  const label = button.querySelector("[data-label]") ?? button;
  const before = (button.dataset.before ??= label.textContent);
  label.textContent = copied ? "Copied" : "Press Ctrl+C";
  button.classList.toggle("copied", copied);
  if (!copied && source) getSelection().selectAllChildren(source);
  clearTimeout(button.reset);
  button.reset = setTimeout(() => {
    label.textContent = before;
    button.classList.remove("copied");
  }, 2000);
});

// Without https the clipboard's API is away, but for localhost.
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
    const focused = document.activeElement;
    (focused?.closest("dialog") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }
}
