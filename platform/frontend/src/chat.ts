// Where the conversation is.

import "./styles/chat.css";
import { Chat } from "./elements/chat";
import { Rendered } from "./markdown";
import { element } from "./page";
import { words } from "./words";

customElements.define("cp-chat", Chat);
foldHistory();
for (const place of document.querySelectorAll<HTMLElement>("[data-markdown]")) {
  const text = place.textContent ?? ""; // read first: the place is emptied
  new Rendered(place).show(text);
}

/** Where there is no room beside the conversation, the history opens as a sheet. */
function foldHistory(): void {
  const side = document.querySelector<HTMLElement>(".page > .side");
  const header = document.querySelector<HTMLElement>("main .page-header");
  if (!side || !header) return;
  side.id ||= "history";
  const open = element("button", { type: "button", textContent: words.history, className: "button" });
  open.setAttribute("popovertarget", side.id);
  header.append(open);
  const roomy = matchMedia("(min-width: 75rem)");
  const fit = (): void => {
    side.popover = roomy.matches ? null : "auto";
    open.hidden = roomy.matches;
  };
  roomy.addEventListener("change", fit);
  fit();
}
