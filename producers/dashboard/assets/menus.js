// <details data-menu> closes by Escape, by a click beside it and when the focus leaves it.

const openMenus = () => document.querySelectorAll("details[data-menu][open]");

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of openMenus()) {
    if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    menu.open = false;
  }
});

document.addEventListener("click", (event) => {
  for (const menu of openMenus()) if (!menu.contains(event.target)) menu.open = false;
});

document.addEventListener("focusout", ({ target, relatedTarget }) => {
  const menu = target.closest?.("details[data-menu][open]");
  if (menu && relatedTarget && !menu.contains(relatedTarget)) menu.open = false;
});
