// <cp-upload>: makes a plain upload form take dropped files and folders, in batches, with progress.
// It decides nothing: each batch is the form's own POST, and the server's answer is what is shown.
// Large files go in pieces (../pieces.ts); whoever comes back and chooses the same files goes on.

import { button, csrfToken, element } from "../page";
import { Memory, PIECE, type Place, Refusal, received, sendInPieces } from "../pieces";
import { words } from "../words";

type Found = { file: File; path: string };
type Answer = { url?: string; upload?: string; error?: string };

const BATCH_FILES = 25;
const BATCH_BYTES = 24_000_000;
const TRIES = 3;

export class Upload extends HTMLElement {
  #form!: HTMLFormElement;
  #input!: HTMLInputElement;
  #text = element("p");
  #bar = element("progress");
  #left = element("small", { className: "soft" });
  #buttons = element("div", { className: "row" });
  #state = element("div", { className: "upload-state", hidden: true });
  #request: XMLHttpRequest | null = null;
  #abort = new AbortController();
  #memory!: Memory;
  #stopped = false;
  #busy = false;

  connectedCallback(): void {
    const form = this.querySelector("form");
    const input = form?.querySelector<HTMLInputElement>("input[type=file]");
    if (!form || !input || this.#form) return;
    this.#form = form;
    this.#input = input;
    this.#memory = new Memory(form.action);
    form.classList.add("drop-zone");
    const folder = element("input", { type: "file", multiple: true, hidden: true });
    folder.webkitdirectory = true;
    const choose = button(words.chooseFolder, "", () => folder.click());
    form.prepend(element("p", { className: "soft", textContent: words.dropHere }));
    for (const submit of form.querySelectorAll<HTMLElement>("button:not([type=button]), input[type=submit]")) {
      submit.hidden = true; // choosing sends; without script the button stays
      submit.after(choose);
    }
    this.#text.setAttribute("role", "status");
    this.#bar.ariaLabel = words.measuring;
    this.#state.append(this.#text, this.#bar, this.#left, this.#buttons);
    form.append(folder, this.#state);

    input.addEventListener("change", () => void this.#send(chosen(input)));
    folder.addEventListener("change", () => void this.#send(chosen(folder)));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#send(chosen(input));
    });
    this.addEventListener("dragover", (event) => {
      event.preventDefault();
      form.dataset["over"] = "";
    });
    this.addEventListener("dragleave", (event) => {
      if (!this.contains(event.relatedTarget as Node | null)) delete form.dataset["over"];
    });
    this.addEventListener("drop", (event) => {
      event.preventDefault();
      delete form.dataset["over"];
      if (!event.dataTransfer || this.#busy) return;
      this.#show(words.reading);
      void dropped(event.dataTransfer).then((found) => this.#send(found));
    });
    window.addEventListener("beforeunload", this.#warn);
  }

  disconnectedCallback(): void {
    window.removeEventListener("beforeunload", this.#warn);
  }

  #warn = (event: BeforeUnloadEvent): void => {
    if (this.#busy) event.preventDefault();
  };

  #show(text: string, kind = ""): void {
    this.#state.hidden = false;
    this.#text.className = kind ? "notice" : "";
    this.#text.dataset["kind"] = kind;
    this.#text.textContent = text;
  }

  async #send(found: Found[]): Promise<void> {
    if (this.#busy) return;
    if (!found.length) {
      this.#show(words.nothingToSend);
      return;
    }
    const all = found.reduce((sum, { file }) => sum + file.size, 0);
    const began = performance.now();
    let [done, sent, spoken, url] = [0, 0, 0, ""];
    this.#busy = true;
    this.#stopped = false;
    this.#abort = new AbortController();
    this.#input.disabled = true;
    this.#bar.hidden = false;
    this.#bar.max = Math.max(1, all);
    this.#buttons.replaceChildren(button(words.stopSending, "plain", () => this.#stop()));
    const progress = (more: number): void => {
      this.#bar.value = sent + more;
      const seconds = (performance.now() - began) / 1000;
      const now = performance.now();
      if (now - spoken > 1000 || done === found.length) {
        spoken = now;
        this.#show(words.sending(done, found.length, sent + more, all));
      }
      const rest = seconds > 2 && sent + more ? (seconds / (sent + more)) * (all - sent - more) : -1;
      this.#left.textContent = rest < 0 ? words.measuring : words.left(rest * 0.8, rest * 1.3);
    };
    progress(0);
    try {
      const begun = this.#memory.read().place;
      const there = begun ? await received(begun) : null;
      let place: Place | null = there ? begun : null;
      const passed = (some: Found[]): void => {
        done += some.length;
        sent += some.reduce((sum, { file }) => sum + file.size, 0);
        progress(0);
      };
      const isThere = ({ file, path }: Found): boolean => !!there?.has(`${path}:${file.size}`);
      passed(found.filter(isThere));
      const waiting = found.filter((each) => !isThere(each));
      for (const batch of batches(waiting.filter(({ file }) => file.size <= PIECE))) {
        const answer = await this.#patiently(batch, place?.upload ?? "", progress);
        place = answer.upload && answer.url ? { upload: answer.upload, page: answer.url } : place;
        this.#memory.write(place, this.#memory.read().files);
        passed(batch);
      }
      for (const large of waiting.filter(({ file }) => file.size > PIECE)) {
        const way = { begin: this.#form.dataset["pieces"] ?? "", memory: this.#memory, progress, signal: this.#abort.signal };
        try {
          place = await sendInPieces(large.file, large.path, place, way);
        } catch (error) {
          // A refused file has its outcome on the card; it does not stop the others.
          if (!(error instanceof Refusal) || !error.place) throw error;
          place = error.place;
        }
        passed([large]);
      }
      url = place?.page ?? "";
      this.#memory.forget();
      this.#buttons.replaceChildren();
      this.#left.textContent = "";
      this.#show(words.allSent(found.length));
      this.#busy = false;
      location.assign(url || location.href);
    } catch (error) {
      this.#busy = false;
      this.#input.disabled = false;
      this.#input.value = "";
      this.#left.textContent = "";
      this.#bar.hidden = true;
      this.#buttons.replaceChildren();
      if (error instanceof Refusal) this.#show(error.message || words.refused, "error");
      else if (this.#stopped) this.#show(words.stoppedSending(done, found.length), "info");
      else this.#show(words.sendFailed(done, found.length), "error");
      this.#buttons.append(button(words.tryAgain, "primary", () => void this.#send(found)));
      if (url) this.#buttons.append(element("a", { href: url, className: "button", textContent: url }));
    }
  }

  #stop(): void {
    this.#stopped = true;
    this.#abort.abort();
    this.#request?.abort();
  }

  /** One batch, tried again after a broken connection; a refusal is not tried again. */
  async #patiently(batch: Found[], upload: string, progress: (sent: number) => void): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#post(batch, upload, progress);
      } catch (error) {
        if (error instanceof Refusal || this.#stopped || attempt === TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, 1000 * 2 ** attempt));
      }
    }
  }

  #post(batch: Found[], upload: string, progress: (sent: number) => void): Promise<Answer> {
    const body = new FormData(this.#form);
    body.delete(this.#input.name);
    body.set("csrfmiddlewaretoken", csrfToken());
    if (upload) body.set("upload", upload);
    for (const { file, path } of batch) {
      body.append(this.#input.name, file, file.name);
      body.append("paths", path);
    }
    // fetch() tells nothing about bytes on their way, hence the older request.
    const request = new XMLHttpRequest();
    this.#request = request;
    return new Promise((resolve, reject) => {
      request.open("POST", this.#form.action);
      request.setRequestHeader("Accept", "application/json");
      request.setRequestHeader("X-Upload-Batch", "1");
      request.upload.addEventListener("progress", (event) => progress(event.loaded));
      request.addEventListener("error", () => reject(new Error("network")));
      request.addEventListener("abort", () => reject(new Error("stopped")));
      request.addEventListener("load", () => {
        const answer = read(request);
        if (request.status >= 500) reject(new Error(String(request.status)));
        else if (request.status >= 400 || answer.error) reject(new Refusal(answer.error ?? ""));
        else resolve(answer);
      });
      request.send(body);
    });
  }
}

function read(request: XMLHttpRequest): Answer {
  if (request.getResponseHeader("Content-Type")?.startsWith("application/json")) {
    return JSON.parse(request.responseText) as Answer;
  }
  const page = new DOMParser().parseFromString(request.responseText, "text/html");
  const error = page.querySelector(".field-error, .notice[data-kind=error], .empty p")?.textContent?.trim();
  if (request.status >= 400) return error ? { error } : {};
  return page.querySelector(".field-error") && error ? { error } : { url: request.responseURL };
}

const chosen = (input: HTMLInputElement): Found[] =>
  Array.from(input.files ?? [], (file) => ({ file, path: file.webkitRelativePath || file.name }));

function* batches(found: Found[]): Generator<Found[]> {
  let batch: Found[] = [];
  let bytes = 0;
  for (const each of found) {
    if (batch.length && (batch.length === BATCH_FILES || bytes + each.file.size > BATCH_BYTES)) {
      yield batch;
      [batch, bytes] = [[], 0];
    }
    batch.push(each);
    bytes += each.file.size;
  }
  if (batch.length) yield batch;
}

async function dropped(transfer: DataTransfer): Promise<Found[]> {
  const entries = Array.from(transfer.items, (item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  if (!entries.length) return Array.from(transfer.files, (file) => ({ file, path: file.name }));
  const found: Found[] = [];
  for (const entry of entries) await walk(entry, found);
  return found;
}

async function walk(entry: FileSystemEntry, found: Found[]): Promise<void> {
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    found.push({ file, path: entry.fullPath.replace(/^\//, "") });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    // A reader hands out a hundred entries at a time, and an empty list at the end.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    for (const each of some) await walk(each, found);
  }
}
