// Small help for every page: theme, copying, local times, and a token against forged requests.

import { dateAndTime, timeOfDay, words } from "./words";

export function csrfToken(): string {
  const field = document.querySelector<HTMLInputElement>("input[name=csrfmiddlewaretoken]");
  return field?.value ?? "";
}

/** Take the token that this page would be given now; false where nobody is signed in. */
export async function renewToken(): Promise<boolean> {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return false;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector<HTMLInputElement>("input[name=csrfmiddlewaretoken]")?.value ?? "";
  const fields = document.querySelectorAll<HTMLInputElement>("input[name=csrfmiddlewaretoken]");
  for (const field of fields) field.value = fresh;
  return fresh !== "";
}

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function button(label: string, variant: string, act: () => void): HTMLButtonElement {
  const made = element("button", { type: "button", textContent: label });
  made.dataset["variant"] = variant;
  made.addEventListener("click", act);
  return made;
}

export async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Plain HTTP inside a company network is no secure context: the old way still works there.
    const field = element("textarea", { value: text, className: "visually-hidden" });
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    return done;
  }
}

export function copyButton(text: () => string): HTMLButtonElement {
  const made = button(words.copy, "plain", () => {
    void copy(text()).then((done) => {
      made.textContent = done ? words.copied : words.copyFailed;
      setTimeout(() => (made.textContent = words.copy), 2500);
    });
  });
  return made;
}

/** Improve what the server wrote: run on the page, and again on each part that is swapped in. */
export function improve(root: ParentNode): void {
  for (const time of root.querySelectorAll<HTMLTimeElement>("time[datetime*=T]")) {
    const at = new Date(time.dateTime);
    if (Number.isNaN(at.valueOf()) || time.title) continue;
    time.title = time.dateTime;
    // The server wrote UTC, with the day or without it; the reader's own clock says the same.
    time.textContent = time.textContent?.includes("-") ? dateAndTime(at) : timeOfDay(at);
  }
  for (const chooser of root.querySelectorAll<HTMLInputElement>("input[type=file][data-at-once]:not([data-improved])")) {
    chooser.dataset["improved"] = "";
    chooser.addEventListener("change", () => chooser.files?.length && chooser.form?.requestSubmit());
  }
  for (const printing of root.querySelectorAll<HTMLButtonElement>("button[data-print][hidden]")) {
    printing.hidden = false; // without script the browser's own menu prints
    printing.addEventListener("click", () => window.print());
  }
  labelCells(root);
  for (const box of root.querySelectorAll<HTMLElement>(".table-box")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; // who has no pointer scrolls it by keys
  }
  for (const line of root.querySelectorAll<HTMLElement>(".code-line:not([data-improved])")) {
    line.dataset["improved"] = "";
    const code = line.querySelector("code") ?? line;
    const text = code.textContent?.trim() ?? "";
    if (text) line.append(copyButton(() => text));
  }
}

/** On a narrow screen rows become cards: each cell then carries its column's name. */
function labelCells(root: ParentNode): void {
  for (const table of root.querySelectorAll<HTMLTableElement>(".table-box:not([data-wide]) > table")) {
    const names = Array.from(table.tHead?.rows[0]?.cells ?? [], (cell) =>
      cell.querySelector(".visually-hidden") ? "" : (cell.textContent ?? "").trim(),
    );
    for (const row of names.length ? [...table.tBodies].flatMap((body) => [...body.rows]) : []) {
      for (const cell of row.cells) {
        const name = names[cell.cellIndex];
        if (!cell.childElementCount && !cell.textContent?.trim()) cell.dataset["bare"] = "";
        if (cell.tagName === "TD" && name && !cell.dataset["label"]) cell.dataset["label"] = name;
      }
    }
  }
}

function showTheme(): void {
  const chosen = document.documentElement.dataset["theme"] ?? "system";
  for (const choice of document.querySelectorAll<HTMLButtonElement>("[data-theme-choice]")) {
    choice.setAttribute("aria-pressed", String(choice.dataset["themeChoice"] === chosen));
  }
}

/** The choice is kept in a cookie, so that the server writes the theme and nothing flashes. */
export function offerThemes(): void {
  for (const group of document.querySelectorAll<HTMLElement>("[data-theme-switch]")) {
    group.addEventListener("click", (event) => {
      const choice = (event.target as Element).closest<HTMLElement>("[data-theme-choice]");
      const theme = choice?.dataset["themeChoice"];
      if (!theme) return;
      const secure = location.protocol === "https:" ? "; secure" : "";
      document.cookie = `theme=${theme}; path=/; max-age=31536000; samesite=lax${secure}`;
      document.documentElement.dataset["theme"] = theme;
      showTheme();
      document.dispatchEvent(new Event("cp-theme"));
    });
  }
  showTheme();
}
