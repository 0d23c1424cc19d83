// Markdown of a model, made safe. The order matters: raw HTML is escaped while parsing, then the
// result passes an allow-list. No images, frames, forms or styles; a link shows where it leads.

import DOMPurify from "dompurify";
import hljs from "highlight.js/lib/core";
import bash from "highlight.js/lib/languages/bash";
import json from "highlight.js/lib/languages/json";
import python from "highlight.js/lib/languages/python";
import sql from "highlight.js/lib/languages/sql";
import { Marked, type Token } from "marked";
import { formulas, typeset } from "./formulas";
import { copyButton, element } from "./page";
import { words } from "./words";

for (const [name, language] of Object.entries({ bash, json, python, sql })) hljs.registerLanguage(name, language);

const escaped = (text: string): string =>
  text.replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);

/** Where a link leads, its host in plain letters: foreign ones that look like them are spelled out. */
function addressOf(href: string): string {
  if (!/^(https?:\/\/|mailto:)/i.test(href)) return "";
  try {
    const place = new URL(href);
    // What was meant is what is shown, but for a host that is not written in plain letters.
    return place.host && !href.toLowerCase().includes(`//${place.host}`) ? place.href : href;
  } catch {
    return "";
  }
}

// Colours of a terminal, signs that are not written, and those that turn the order of others.
const UNWRITTEN = /\u001b\[[0-?]*[ -/]*[@-~]|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202d\u202e]/g;
const MOST = 100_000; // characters; more are shown as they stand: no person reads such a table

const marked = new Marked({
  gfm: true,
  extensions: formulas,
  renderer: {
    html: ({ text }) => escaped(text),
    image: ({ text, href }) => escaped(text || href),
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    link({ href, tokens }) {
      const text = this.parser.parseInline(tokens);
      const place = addressOf(href);
      if (!place) return text;
      const address = escaped(place);
      const shown = text === address || text === place ? "" : ` <span class="address">(${address})</span>`;
      return `<a href="${address}">${text}${shown}</a>`;
    },
  },
});

const ALLOWED_TAGS = [
  "a", "b", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "li",
  "ol", "p", "pre", "s", "span", "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul", "#text",
];
const ALLOWED_ATTR = ["href", "class", "start"];

function safe(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, {
    ALLOWED_TAGS,
    ALLOWED_ATTR,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    ADD_URI_SAFE_ATTR: ["start"], // else the pattern below is held against it as well
    ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
    RETURN_DOM_FRAGMENT: true,
  });
}

function finish(fragment: ParentNode): void {
  for (const link of fragment.querySelectorAll("a")) {
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
  }
  for (const table of fragment.querySelectorAll("table")) {
    const box = element("div", { className: "table-box", tabIndex: 0 });
    table.replaceWith(box);
    box.append(table);
  }
  for (const code of fragment.querySelectorAll<HTMLElement>("pre > code")) {
    const language = /language-([\w-]+)/.exec(code.className)?.[1] ?? "";
    const text = code.textContent ?? "";
    // The highlighter escapes what it is given and adds spans with classes, nothing else.
    if (hljs.getLanguage(language)) code.innerHTML = hljs.highlight(text, { language }).value;
    const head = element("div", { className: "chat-code-head" }, element("span", { textContent: language || words.code }), copyButton(() => text));
    const box = element("div", { className: "chat-code" }, head);
    code.parentElement?.replaceWith(box);
    box.append(element("pre", { tabIndex: 0 }, code));
  }
  typeset(fragment);
}

/** A place that shows growing Markdown: only blocks whose source changed are made again. */
export class Rendered {
  #blocks: { raw: string; node: HTMLElement }[] = [];

  constructor(readonly place: HTMLElement) {
    place.replaceChildren();
    place.dataset["rendered"] = "";
  }

  show(said: string): void {
    const text = said.replace(UNWRITTEN, "");
    if (text.length > MOST) {
      this.#blocks = [];
      this.place.replaceChildren(element("div", { className: "chat-block chat-plain", textContent: text }));
      return;
    }
    const tokens = marked.lexer(text);
    const blocks = tokens.filter((token) => token.type !== "space");
    const same = blocks.findIndex((token, index) => this.#blocks[index]?.raw !== token.raw);
    const keep = same < 0 ? blocks.length : same;
    for (const { node } of this.#blocks.splice(keep)) node.remove();
    for (const token of blocks.slice(keep)) {
      const node = element("div", { className: "chat-block" });
      node.append(safe(marked.parser([token as Token])));
      finish(node);
      this.place.append(node);
      this.#blocks.push({ raw: token.raw, node });
    }
  }
}
