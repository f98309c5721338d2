// Keeps <time data-ago> up to date, in the words in which the server wrote them.

const STEPS = [[60, 1, "second"], [3600, 60, "minute"], [86400, 3600, "hour"], [30 * 86400, 86400, "day"]];

export function ago(element, now = Date.now()) {
  const seconds = (now - Date.parse(element.dateTime)) / 1000;
  if (seconds > -60 && seconds < 5) return "just now";
  for (const [below, unit, name] of STEPS) {
    if (Math.abs(seconds) >= below) continue;
    const count = Math.floor(Math.abs(seconds) / unit);
    const text = `${count} ${name}${count === 1 ? "" : "s"}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  }
  return element.textContent;
}

setInterval(() => {
  if (document.hidden) return;
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const text = ago(element);
    if (text !== element.textContent) element.textContent = text;
  }
}, 10_000);
