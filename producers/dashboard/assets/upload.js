// A file on its way to the gateway: dropped on, or chosen in, a form with data-upload; its bytes are the request's body.
//
// What is seen of it is one of the form's parts at a time: data-part="idle", "sending" or "failed".
// A connection that breaks off is tried again, from the file's beginning: an upload that is not whole has left nothing behind.

const RETRIES_MS = [1000, 3000, 8000];
const STALLED_MS = 45_000;
const AGAIN = new Set([0, 502, 503, 504]);

const megabytes = (bytes) => `${Number((bytes / 1e6).toPrecision(3))} MB`;
const size = (bytes) => (bytes < 1e6 ? `${Number((bytes / 1e3).toPrecision(3))} kB` : megabytes(bytes));

// Why a file is not even sent; undefined where it is.
function fault(files, entry, limit) {
  if (files.length > 1) return "Drop one file at a time. Several can be the parts of one import, one after the other.";
  if (!files.length) return "That is no file. Drop a CSV or JSON file.";
  if (entry?.isDirectory) return "That is a folder. Drop a CSV or JSON file.";
  const [{ name, size: bytes }] = files;
  if (bytes > limit)
    return `${name} has ${megabytes(bytes)}, and a file may have at most ${megabytes(limit)}. Split it into several: they can be the parts of one import.`;
}

// Sends once. Returns {url} where it is done, {message} where it is refused, {lost: true, message} where another try may help.
function attempt(url, file, onProgress, onRequest) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    let timer;
    const stirred = () => {
      clearTimeout(timer);
      timer = setTimeout(() => request.abort(), STALLED_MS);
    };
    const lost = (message) => resolve({ lost: true, message });
    request.upload.onprogress = ({ loaded, total }) => {
      stirred();
      onProgress(loaded, total);
    };
    request.onload = () => resolve(outcome(request));
    request.onerror = () => lost("The connection was lost.");
    request.onabort = () => lost("The connection has stalled.");
    request.onloadend = () => clearTimeout(timer);
    request.open("POST", url);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("HX-Request", "true");
    stirred();
    onRequest(request);
    request.send(file);
  });
}

function outcome(request) {
  const elsewhere = request.getResponseHeader("HX-Redirect");
  if (elsewhere) return { url: elsewhere };
  const words = request.getResponseHeader("Foldline-Message");
  let answer = words ? { message: decodeURIComponent(words) } : {};
  try {
    answer = JSON.parse(request.responseText);
  } catch {
    // Only answers in JSON have anything to say.
  }
  if (request.status === 201) return { url: answer.url };
  const message = answer.message ?? (request.status === 403 ? "Your role may not import files." : "The gateway could not take the file.");
  return { message, lost: AGAIN.has(request.status) };
}

const readable = (file) => file.slice(0, 1).arrayBuffer().then(() => true, () => false);
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.?!]$/.test(text) ? "" : ".");

class Upload {
  constructor(form) {
    this.form = form;
    this.input = form.querySelector("input[type=file]");
    this.bar = form.querySelector("progress");
    this.limit = Number(form.dataset.limit);
    this.input.addEventListener("change", () => this.input.files.length && this.take([...this.input.files]));
    this.input.addEventListener("keydown", ({ key }) => key === "Enter" && this.input.click());
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("click", ({ target }) => this.pressed(target.closest("[data-do]")?.dataset.do));
    addEventListener("pageshow", ({ persisted }) => persisted && this.reset());
    addEventListener("beforeunload", (event) => this.file && !this.leaving && event.preventDefault());
    this.listenForDrops(form.querySelector("[data-zone]"));
  }

  listenForDrops(zone) {
    const holdsFiles = ({ dataTransfer }) => [...(dataTransfer?.types ?? [])].includes("Files");
    const mark = (over) => zone.classList.toggle("over", over);
    for (const name of ["dragenter", "dragover"])
      addEventListener(name, (event) => {
        if (!holdsFiles(event)) return;
        event.preventDefault(); // a file that misses the zone is not opened in place of the page
        event.dataTransfer.dropEffect = zone.contains(event.target) && !this.file ? "copy" : "none";
        mark(zone.contains(event.target));
      });
    addEventListener("dragleave", (event) => event.relatedTarget === null && mark(false));
    addEventListener("drop", (event) => {
      if (!holdsFiles(event)) return;
      event.preventDefault();
      mark(false);
      if (!zone.contains(event.target) || this.file) return;
      const [item] = event.dataTransfer.items;
      this.take([...event.dataTransfer.files], item?.webkitGetAsEntry?.());
    });
  }

  pressed(what) {
    if (what === "cancel") this.cancel();
    if (what === "again") this.file ? this.hurry?.() : this.send(this.last);
    if (what === "another") {
      this.reset();
      this.input.click();
    }
  }

  take(files, entry) {
    const wrong = fault(files, entry, this.limit);
    if (wrong) this.failed(wrong, false);
    else this.send(files[0]);
  }

  async send(file) {
    const mine = (this.file = this.last = file);
    const run = (this.run = (this.run ?? 0) + 1);
    const over = () => this.file !== mine || this.run !== run;
    this.show("sending");
    this.put("name", file.name);
    this.form.querySelector("[data-do=cancel]").focus();
    for (let tries = 0; !over(); tries++) {
      this.progress(0, file.size);
      this.say(tries ? `Sending ${file.name} again` : `Sending ${file.name}`);
      const ended = await attempt(this.url(file), file, (...now) => this.progress(...now), (request) => (this.request = request));
      if (over()) return;
      if (ended.url) return this.leave(ended.url);
      if (!(await readable(file))) return this.failed("The file cannot be read any more. Choose it again.", false);
      if (!ended.lost || tries >= RETRIES_MS.length) return this.failed(sentence(ended.message), ended.lost);
      await this.pause(ended.message, RETRIES_MS[tries]);
    }
  }

  url(file) {
    return `${this.form.dataset.upload}&name=${encodeURIComponent(file.name)}`;
  }

  progress(loaded, total) {
    this.bar.max = total || 1;
    this.bar.value = loaded;
    const percent = total ? Math.floor((loaded / total) * 100) : 0;
    this.put("sent", loaded < total ? `${size(loaded)} of ${size(total)}` : `${size(total)} sent: storing it…`);
    this.put("percent", `${percent} %`);
  }

  // Waits, until a connection is there again, or somebody is impatient.
  async pause(message, ms) {
    this.put("sent", `${sentence(message)} Trying again…`);
    this.say(`${sentence(message)} Trying again`);
    this.form.classList.add("waiting");
    await new Promise((resolve) => {
      this.hurry = resolve;
      if (navigator.onLine) setTimeout(resolve, ms);
      addEventListener("online", resolve, { once: true });
    });
    this.hurry = undefined;
    this.form.classList.remove("waiting");
  }

  cancel() {
    this.reset();
    this.say("Cancelled: nothing was kept");
    this.input.focus();
  }

  leave(url) {
    this.leaving = true;
    this.say("Sent");
    location.assign(url);
  }

  failed(message, again) {
    this.file = undefined;
    this.show("failed");
    this.put("message", message);
    this.form.querySelector("[data-part=failed] [data-do=again]").hidden = !again;
    this.form.querySelector(`[data-part=failed] [data-do=${again ? "again" : "another"}]`).focus();
  }

  reset() {
    const { request } = this;
    this.file = this.request = undefined;
    this.leaving = false;
    this.input.value = "";
    request?.abort();
    this.hurry?.();
    this.show("idle");
  }

  show(part) {
    this.form.classList.remove("waiting");
    for (const element of this.form.querySelectorAll("[data-part]")) element.hidden = element.dataset.part !== part;
  }

  put(name, text) {
    for (const element of this.form.querySelectorAll(`[data-put=${name}]`)) element.textContent = text;
  }

  say(text) {
    this.put("said", text);
  }
}

export function connectUploads(root = document) {
  for (const form of root.querySelectorAll("form[data-upload]")) form.upload ??= new Upload(form);
}

connectUploads();
