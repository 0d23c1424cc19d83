// Keeps what is being written on the server, for whoever signs in: nothing of it stays in the browser,
// which others may sit down at. Knows a form and its field.

import { csrfToken } from "../page";

const PAUSE_MS = 800; // after the last stroke

export class Draft {
  #timer = 0;
  #kept: string;
  #sending: Promise<void> = Promise.resolve();

  constructor(
    readonly form: HTMLFormElement,
    readonly field: HTMLTextAreaElement,
  ) {
    this.#kept = field.value;
    field.addEventListener("input", () => this.changed());
    form.querySelector("[name=temporary]")?.addEventListener("change", () => this.changed());
    window.addEventListener("pagehide", () => this.#timer && this.#send(true));
  }

  changed(): void {
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#send(), PAUSE_MS);
  }

  /** Before a question is asked: none that is still on its way may arrive after it. */
  async settled(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = 0;
    await this.#sending;
  }

  /** The question was asked, and with it the server let go of what it kept. */
  asked(): void {
    this.#kept = "";
  }

  #send(isLeaving = false): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
    const isTemporary = this.form.querySelector<HTMLInputElement>("[name=temporary]")?.checked;
    const text = isTemporary ? "" : this.field.value;
    if (text === this.#kept) return;
    const body = new FormData();
    body.set("text", text);
    body.set("conversation", this.form.querySelector<HTMLInputElement>("[name=conversation]")?.value ?? "");
    const sent = fetch("/chat/draft", { method: "POST", body, headers: { "X-CSRFToken": csrfToken() }, keepalive: isLeaving });
    this.#sending = sent.then(
      (answer) => {
        if (answer.ok && !answer.redirected) this.#kept = text;
      },
      () => undefined, // away: the next stroke tries again
    );
  }
}
