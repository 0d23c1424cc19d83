// <cp-chat>: sends a question, shows the answer as it is written, stops it, and finds it again after
// a reload. The transcript is the server's; this element never shows a state it was not told.

import { attaching } from "./attach";
import { Draft } from "./draft";
import { singleKeysAreOn } from "./keys";
import { button, copyButton, csrfToken, element, renewToken } from "../page";
import { Rendered } from "../markdown";
import { duration, words } from "../words";

type Asked = {
  conversation: string;
  message: string;
  stream: string;
  stop?: string;
  url?: string;
  model?: string;
  question?: string;
  error?: string;
};
type Done = { state: string; text?: string; note?: string };

const UNDER_WAY = ["waiting", "streaming"];
const NEAR_END = 160; // px: who reads the end is taken along, who reads above is left there
const REOPEN_MS = [1000, 2000, 4000, 8000];
const LOOK_AGAIN_MS = 5000;

const countWords = (text: string): number => text.trim().split(/\s+/u).filter(Boolean).length;

/** One answer on its way: its stream, its text, its line of words. */
class Reply {
  text = "";
  finished = false;
  #source: EventSource | null = null;
  #rendered: Rendered;
  #note: HTMLElement;
  #stage: string = words.waiting;
  #since = performance.now();
  #ticking = 0;
  #frame = 0;
  #reopened = 0;
  #stopping = false;
  #calm = matchMedia("(prefers-reduced-motion: reduce)");

  constructor(
    readonly line: HTMLLIElement,
    readonly changed: () => void,
    readonly ended: (reply: Reply) => void,
  ) {
    const place = textOf(line);
    this.text = place.textContent ?? "";
    this.#rendered = new Rendered(place);
    this.#rendered.show(this.text);
    this.#note = noteOf(line);
  }

  follow(): void {
    this.#tick();
    this.#ticking = window.setInterval(() => this.#tick(), 1000);
    this.#open();
  }

  leave(): void {
    this.#source?.close();
    clearInterval(this.#ticking);
    cancelAnimationFrame(this.#frame);
  }

  async stop(): Promise<void> {
    if (this.#stopping || this.finished) return;
    this.#stopping = true;
    this.#tick();
    const stream = this.line.dataset["stream"] ?? "";
    const address = this.line.dataset["stop"] || stream.replace(/events\/?$/, "stop");
    try {
      const answer = await fetch(address, { method: "POST", headers: { "X-CSRFToken": csrfToken(), Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
    } catch {
      this.#stopping = false; // shown as still writing, because it is
    }
  }

  #open(): void {
    const source = new EventSource(this.line.dataset["stream"] ?? "");
    this.#source = source;
    let text = ""; // a new stream begins with the first token; a resumed one goes on where it was
    source.addEventListener("token", (event) => {
      this.#reopened = 0;
      text += (JSON.parse(event.data) as { text: string }).text;
      this.text = text;
      if (this.line.dataset["state"] !== "streaming" || this.#stage !== words.writing) {
        this.#stage = words.writing;
        this.line.dataset["state"] = "streaming";
        this.#tick();
      }
      this.#draw();
    });
    source.addEventListener("state", (event) => {
      const { note } = JSON.parse(event.data) as Done;
      if (note) this.#stage = note;
      this.#tick();
    });
    source.addEventListener("done", (event) => this.finish(JSON.parse(event.data) as Done));
    source.addEventListener("error", () => {
      if (this.finished || source.readyState !== EventSource.CLOSED) return; // it reconnects by itself
      const pause = REOPEN_MS[this.#reopened];
      this.#reopened += 1;
      if (pause === undefined) void this.#lookAgain();
      else setTimeout(() => this.#open(), pause);
    });
  }

  /** No stream to be had: the page itself knows how the answer ended. */
  async #lookAgain(): Promise<void> {
    this.#stage = words.lost;
    this.#tick();
    while (!this.finished && this.line.isConnected) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
      try {
        const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const id = this.line.dataset["messageId"] ?? "";
        const line = page.querySelector<HTMLLIElement>(`[data-message-id="${CSS.escape(id)}"]`);
        const state = line?.dataset["state"] ?? "";
        if (line && state && !UNDER_WAY.includes(state)) {
          this.finish({ state, text: textOf(line).textContent ?? "", note: noteOf(line).textContent ?? "" });
        }
      } catch {
        // Still away: the line already says so.
      }
    }
  }

  finish({ state, text, note }: Done): void {
    if (this.finished) return;
    this.finished = true;
    this.leave();
    if (text !== undefined) this.text = text;
    this.#rendered.show(this.text);
    this.line.dataset["state"] = state;
    const count = countWords(this.text);
    const usual = state === "stopped" ? words.stopped(count) : state === "failed" ? words.failed : "";
    this.#note.textContent = note || usual;
    this.ended(this);
  }

  #tick(): void {
    if (this.finished) return;
    const seconds = (performance.now() - this.#since) / 1000;
    const stage = this.#stopping ? words.stopping : this.#stage;
    this.#note.textContent = seconds < 1 ? stage : `${stage} · ${duration(seconds)}`;
  }

  /** At most once a frame; by whole lines for people who asked for less motion. */
  #draw(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      const shown = this.#calm.matches ? this.text.slice(0, this.text.lastIndexOf("\n") + 1) : this.text;
      this.#rendered.show(shown);
      this.changed();
    });
  }
}

export class Chat extends HTMLElement {
  #list!: HTMLOListElement;
  #form!: HTMLFormElement;
  #field!: HTMLTextAreaElement;
  #status: HTMLElement | null = null;
  #draft!: Draft;
  #reply: Reply | null = null;
  #sending = false;
  #follow = true;
  #sendButton: HTMLButtonElement | null = null;
  #stopButton = button(words.stop, "", () => void this.#reply?.stop());
  #jump = button(words.latest, "", () => this.#toEnd(true));
  #error = element("p", { className: "notice", hidden: true });

  connectedCallback(): void {
    const list = this.querySelector<HTMLOListElement>("[data-messages]");
    const form = this.querySelector<HTMLFormElement>("form[data-ask]");
    const field = form?.querySelector("textarea");
    if (!list || !form || !field) return;
    [this.#list, this.#form, this.#field] = [list, form, field];
    this.#status = this.querySelector("[data-status]");
    this.#sendButton = form.querySelector<HTMLButtonElement>("button:not([type=button])");
    this.#stopButton.hidden = true;
    this.#sendButton?.before(...attaching(field, (sentence) => this.#refuse(sentence)), this.#stopButton);
    this.#error.dataset["kind"] = "error";
    this.#error.role = "alert";
    form.prepend(this.#error);
    this.#jump.classList.add("chat-jump");
    this.#jump.hidden = true;
    form.before(this.#jump);

    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask();
    });
    field.addEventListener("keydown", (event) => this.#key(event));
    this.#draft = new Draft(form, field);
    this.addEventListener("cp-drawn", () => this.#grown());
    this.addEventListener("click", (event) => this.#starter(event));
    document.addEventListener("keydown", this.#shortcut);
    window.addEventListener("scroll", this.#scrolled, { passive: true });
    this.#take();
  }

  disconnectedCallback(): void {
    document.removeEventListener("keydown", this.#shortcut);
    window.removeEventListener("scroll", this.#scrolled);
    this.#reply?.leave();
  }

  /** Take over what the server wrote: Markdown, tools, and an answer that is still on its way. */
  #take(): void {
    for (const line of this.#list.querySelectorAll<HTMLLIElement>('li[data-role="assistant"]')) {
      if (line.dataset["stream"] && UNDER_WAY.includes(line.dataset["state"] ?? "")) this.#start(line);
      else this.#dress(line, new Reply(line, () => undefined, () => undefined).text);
    }
    if (this.#list.childElementCount) requestAnimationFrame(() => this.#toEnd(true));
  }

  #dress(line: HTMLLIElement, text: string): void {
    const tools = line.querySelector(".chat-tools-line");
    if (!text || !tools || tools.querySelector("[data-copy]")) return;
    const own = copyButton(() => text);
    own.dataset["copy"] = "";
    tools.prepend(own);
  }

  /** The answer and its question as the server writes them: with what can be done with them. */
  async #fromServer(line: HTMLLIElement): Promise<void> {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (!answer.ok || answer.redirected) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById(`m-${line.dataset["messageId"] ?? ""}`);
      const question = fresh?.previousElementSibling;
      const old = line.previousElementSibling;
      if (question instanceof HTMLLIElement && old instanceof HTMLLIElement && question.dataset["role"] === old.dataset["role"]) {
        old.replaceWith(document.importNode(question, true));
      }
      const context = page.querySelector("[data-context]");
      if (context) document.querySelector("[data-context]")?.replaceWith(document.importNode(context, true));
      const tools = fresh?.querySelector(".chat-tools-line");
      if (tools && !line.querySelector(".chat-tools-line")) line.append(document.importNode(tools, true));
    } catch {
      // The answer stands; its tools come with the next page.
    }
  }

  #start(line: HTMLLIElement): void {
    this.#reply?.leave();
    this.#reply = new Reply(line, () => this.#grown(), (reply) => this.#ended(reply));
    this.#stopButton.hidden = false;
    this.#say(words.answering);
    this.#reply.follow();
    this.#buttons();
  }

  #ended(reply: Reply): void {
    void this.#fromServer(reply.line).then(() => this.#dress(reply.line, reply.text));
    const after = this.#form.querySelector<HTMLInputElement>("input[name=after]");
    if (after) after.value = reply.line.dataset["messageId"] ?? "";
    this.#reply = null;
    this.#stopButton.hidden = true;
    this.#buttons();
    this.#say(reply.line.dataset["state"] === "complete" ? words.finished(countWords(reply.text)) : noteOf(reply.line).textContent ?? "");
    this.#grown();
  }

  async #ask(): Promise<void> {
    const text = this.#field.value.trim();
    if (!text || this.#sending || this.#reply) return;
    this.#sending = true;
    this.#buttons();
    try {
      await this.#draft.settled();
      let answer = await this.#post();
      // Signing in in another tab gave this browser a new token: this page takes it and asks again.
      if (answer.status === 403 && !isJson(answer) && (await renewToken())) answer = await this.#post();
      const asked = isJson(answer) ? ((await answer.json()) as Asked) : null;
      if (answer.ok && asked?.stream) this.#asked(text, asked);
      else if (answer.redirected) this.#signedOut(answer.url);
      else this.#refuse(asked?.error ?? words.refusedQuestion);
    } catch {
      this.#refuse(words.notSent);
    } finally {
      this.#sending = false;
      this.#buttons();
    }
  }

  #post(): Promise<Response> {
    return fetch(this.#form.action, { method: "POST", body: new FormData(this.#form), headers: { Accept: "application/json" } });
  }

  /** The session is over, and the text is nowhere but here: signing in happens in another tab. */
  #signedOut(address: string): void {
    const link = element("a", { href: new URL(address).pathname, target: "_blank", textContent: words.signIn });
    this.#refuse(words.signedOut);
    this.#error.append(" ", link);
  }

  #asked(text: string, asked: Asked): void {
    this.#error.hidden = true;
    this.#draft.asked();
    // Whoever types fast has begun the next question: that one stays.
    if (this.#field.value.trim() === text) this.#field.value = "";
    this.querySelector("[data-empty]")?.remove();
    const question = message("user", words.you, text);
    if (asked.question) question.dataset["messageId"] = asked.question;
    this.#list.append(question);
    const chosen = this.#form.querySelector("select")?.selectedOptions[0]?.textContent?.trim();
    const line = message("assistant", asked.model ?? chosen ?? words.model, "");
    line.dataset["messageId"] = asked.message;
    line.dataset["state"] = "waiting";
    line.dataset["stream"] = asked.stream;
    if (asked.stop) line.dataset["stop"] = asked.stop;
    this.#list.append(line);
    this.#name(asked, text);
    this.#follow = true;
    this.#start(line);
    this.#toEnd(true);
    this.#field.focus();
  }

  /** A new conversation gets its address and its place in the history, without a new page. */
  #name(asked: Asked, title: string): void {
    const field = this.#form.querySelector<HTMLInputElement>("input[name=conversation]");
    if (!field || field.value) return;
    field.value = asked.conversation;
    this.#form.querySelector(".chat-temporary")?.remove();
    const address = asked.url ?? `/chat/${asked.conversation}/`;
    history.replaceState(null, "", address);
    const heading = document.querySelector("main h1");
    if (heading) heading.textContent = title.slice(0, 80);
    const list = document.querySelector(".chat-history ul");
    if (!list) return;
    document.querySelector(".chat-history [data-none]")?.remove();
    for (const each of list.querySelectorAll("[aria-current]")) each.removeAttribute("aria-current");
    const link = element("a", { href: address, textContent: title.slice(0, 80), dir: "auto" });
    link.setAttribute("aria-current", "page");
    list.prepend(element("li", {}, link));
  }

  #refuse(sentence: string): void {
    this.#error.textContent = sentence;
    this.#error.hidden = false;
    this.#draft.changed();
  }

  #buttons(): void {
    if (!this.#sendButton) return;
    this.#sendButton.disabled = this.#sending;
    this.#sendButton.hidden = this.#reply !== null; // Stop stands in its place
  }

  #key(event: KeyboardEvent): void {
    // A keyboard on glass has no Shift+Enter worth the name: there Enter stays a new line.
    const sends = event.key === "Enter" && !event.shiftKey && !event.isComposing && !matchMedia("(pointer: coarse)").matches;
    if (!sends) return;
    event.preventDefault();
    void this.#ask();
  }

  #shortcut = (event: KeyboardEvent): void => {
    const target = event.target as HTMLElement;
    const inField = target.matches?.("input, textarea, select, [contenteditable]");
    const isBare = !event.ctrlKey && !event.metaKey && !event.altKey;
    const isSingle = isBare && !inField && singleKeysAreOn();
    const map = document.querySelector<HTMLDialogElement>("#keys");
    if (event.key === "Escape" && this.#reply && !map?.open) void this.#reply.stop();
    else if (event.key === "/" && isSingle) this.#field.focus();
    else if (event.key === "?" && isSingle) map?.showModal();
    else if (event.key === "ArrowUp" && event.altKey) this.#editLast();
    else if (event.key.toLowerCase() === "o" && event.ctrlKey && event.shiftKey) document.querySelector<HTMLElement>("[data-new]")?.click();
    else if (event.key === "Enter" && event.ctrlKey && target.closest("[data-edit]")) target.closest("form")?.requestSubmit();
    else return;
    event.preventDefault();
  };

  #editLast(): void {
    const fold = [...this.#list.querySelectorAll<HTMLDetailsElement>("[data-edit]")].at(-1);
    if (!fold) return;
    fold.open = true;
    fold.querySelector("textarea")?.focus();
  }

  #starter(event: Event): void {
    const starter = (event.target as Element).closest<HTMLElement>("[data-starter]");
    if (!starter) return;
    this.#field.value = (starter.dataset["starter"] || starter.textContent || "").trim();
    this.#draft.changed();
    this.#field.focus();
  }

  #say(sentence: string): void {
    if (this.#status) this.#status.textContent = sentence;
  }

  #atEnd(): boolean {
    const page = document.documentElement;
    return page.scrollHeight - page.scrollTop - page.clientHeight < NEAR_END;
  }

  #scrolled = (): void => {
    this.#follow = this.#atEnd();
    if (this.#follow) this.#jump.hidden = true;
  };

  #grown(): void {
    if (this.#follow) this.#toEnd(false);
    else this.#jump.hidden = this.#atEnd();
  }

  #toEnd(always: boolean): void {
    if (!always && !this.#follow) return;
    this.#follow = true;
    this.#jump.hidden = true;
    document.documentElement.scrollTop = document.documentElement.scrollHeight;
  }
}

const isJson = (answer: Response): boolean => (answer.headers.get("Content-Type") ?? "").startsWith("application/json");
const textOf = (line: HTMLElement): HTMLElement => line.querySelector<HTMLElement>("[data-text], .chat-text") ?? line;

function noteOf(line: HTMLElement): HTMLElement {
  const found = line.querySelector<HTMLElement>("[data-note], .chat-note");
  if (found) return found;
  const made = element("p", { className: "chat-note" });
  line.append(made);
  return made;
}

function message(role: string, who: string, text: string): HTMLLIElement {
  const place = element("div", { className: "chat-text", textContent: text, dir: "auto" });
  const line = element("li", {}, element("p", { className: "chat-who", textContent: who }), place, element("p", { className: "chat-note" }));
  line.dataset["role"] = role;
  line.dataset["state"] = "complete";
  return line;
}
