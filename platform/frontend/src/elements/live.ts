// <cp-live src>: patches regions of the page from one event stream. The server's page is complete
// without it; when the stream is away the page says since when, and asks again by itself.

import { element, improve } from "../page";
import { words } from "../words";

type Region = { id: string; html: string };
export type MetricRow = [step: number, name: string, value: number];

const FAILURES_BEFORE_POLLING = 3;
const POLL_SECONDS = 15;
const HIDDEN_SECONDS = 30; // browsers allow six connections to a host: a hidden tab gives its own back

export class Live extends HTMLElement {
  #source: EventSource | null = null;
  #seen = new Date();
  #failures = 0;
  #poll = 0;
  #hide = 0;
  #ended = false;
  #held = new Map<string, string>();
  #known = new Set<string>();
  #state = element("p", { className: "live-state", hidden: true });

  connectedCallback(): void {
    this.#state.setAttribute("role", "status");
    this.append(this.#state);
    document.addEventListener("visibilitychange", this.#visibility);
    document.addEventListener("focusout", this.#release);
    this.#open();
  }

  disconnectedCallback(): void {
    document.removeEventListener("visibilitychange", this.#visibility);
    document.removeEventListener("focusout", this.#release);
    this.#close();
  }

  #open(): void {
    const address = this.getAttribute("src");
    if (!address || this.#source || this.#ended) return;
    const source = new EventSource(address);
    this.#source = source;
    source.addEventListener("open", () => {
      this.#alive();
      // What was told before it opened came to nobody: only one that comes back by itself names
      // what it has seen, and the first may open long after the charts were drawn.
      document.dispatchEvent(new Event("cp-again"));
    });
    source.addEventListener("error", () => this.#broken());
    source.addEventListener("region", (event) => {
      this.#alive();
      this.#replace(JSON.parse(event.data) as Region);
    });
    source.addEventListener("metrics", (event) => {
      this.#alive();
      const { rows } = JSON.parse(event.data) as { rows: MetricRow[] };
      document.dispatchEvent(new CustomEvent<MetricRow[]>("cp-metrics", { detail: rows }));
    });
    source.addEventListener("reload", () => location.reload());
    source.addEventListener("end", () => {
      this.#ended = true;
      this.#close();
    });
  }

  #close(): void {
    this.#source?.close();
    this.#source = null;
    clearTimeout(this.#poll);
  }

  #alive(): void {
    this.#seen = new Date();
    this.#failures = 0;
    this.#state.hidden = true;
  }

  #broken(): void {
    this.#failures += 1;
    this.#state.textContent = words.livePaused(this.#seen);
    this.#state.hidden = false;
    if (this.#source?.readyState === EventSource.CLOSED || this.#failures >= FAILURES_BEFORE_POLLING) {
      this.#close();
      this.#poll = window.setTimeout(() => void this.#pollOnce(), POLL_SECONDS * 1000);
    }
  }

  /** Fetch the page itself and take its regions; then try the stream again. */
  async #pollOnce(): Promise<void> {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.ok && !answer.redirected) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const own = Array.from(this.querySelectorAll("[id]"), (each) => each.id);
        for (const id of new Set([...own, ...this.#known])) {
          const fresh = page.getElementById(id);
          // A region inside another that was just replaced is already fresh.
          if (fresh && document.getElementById(id)?.parentElement?.closest("[id]:not(main)") == null) {
            this.#replace({ id, html: fresh.outerHTML });
          }
        }
        this.#seen = new Date();
        this.#state.textContent = words.livePaused(this.#seen);
      }
    } catch {
      // Still away; the sentence on the page already says since when.
    }
    this.#open();
  }

  #replace({ id, html }: Region): void {
    this.#known.add(id);
    const old = document.getElementById(id);
    if (!old) return;
    const active = document.activeElement;
    if (active && old.contains(active) && active.matches("input, textarea, select")) {
      this.#held.set(id, html); // somebody is typing in it: it is replaced when they leave
      return;
    }
    const template = element("template");
    template.innerHTML = html;
    const fresh = template.content.firstElementChild;
    if (!fresh || fresh.outerHTML === old.outerHTML) return;
    const focused = active && old.contains(active) ? active.id : "";
    const open = Array.from(old.querySelectorAll("details"), (each) => each.open);
    fresh.querySelectorAll("details").forEach((each, index) => (each.open = open[index] ?? each.open));
    improve(template.content);
    old.replaceWith(fresh);
    if (focused) document.getElementById(focused)?.focus();
  }

  #release = (): void => {
    setTimeout(() => {
      const held = [...this.#held];
      this.#held.clear();
      for (const [id, html] of held) this.#replace({ id, html });
    });
  };

  #visibility = (): void => {
    clearTimeout(this.#hide);
    if (document.hidden) {
      this.#hide = window.setTimeout(() => this.#close(), HIDDEN_SECONDS * 1000);
    } else if (!this.#source && !this.#ended) {
      void this.#pollOnce();
    }
  };
}
