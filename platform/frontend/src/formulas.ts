// TeX in an answer: found while Markdown is read, drawn as MathML. The server makes the MathML; the
// page asks once for each formula and cleans what comes. What makes no formula stays as its source.

import DOMPurify from "dompurify";
import type { TokenizerAndRendererExtension, Tokens } from "marked";
import { csrfToken } from "./page";

// As they stand before and behind a formula, and whether it has a line of its own.
const PAIRS: [string, string, boolean][] = [
  ["$$", "$$", true],
  ["\\[", "\\]", true],
  ["\\(", "\\)", false],
  ["$", "$", false],
];
const LONGEST = 2_000; // characters; the server reads no longer one
const AHEAD = 4_000; // characters that are looked through at once: answers may be one endless line
const PAUSE_MS = 60; // formulas that appear together are asked for together
const AT_ONCE = 64;

type Found = { raw: string; tex: string; isDisplay: boolean };

/** The formula that this text begins with. */
function formulaAt(text: string): Found | undefined {
  const pair = PAIRS.find(([opening]) => text.startsWith(opening));
  if (!pair) return undefined;
  const [opening, closing, isDisplay] = pair;
  const near = text.slice(0, LONGEST + 4);
  let end = near.indexOf(closing, opening.length);
  while (end > 0 && closing.startsWith("$") && near[end - 1] === "\\") end = near.indexOf(closing, end + 1);
  if (end < 0) return undefined;
  const tex = near.slice(opening.length, end);
  if (!tex.trim() || /\n\s*\n/.test(tex)) return undefined;
  // Money has dollars too: as in other writers' Markdown, no blank stands inside and no digit behind.
  if (opening === "$" && (/^\s|\s$|[\n`]/.test(tex) || /\d/.test(near[end + 1] ?? ""))) return undefined;
  // Escaped brackets are brackets, unless what they hold looks like mathematics.
  if (opening === "\\[" && !/[\\^_=+<>{}\n]/.test(tex)) return undefined;
  return { raw: near.slice(0, end + closing.length), tex: tex.trim(), isDisplay };
}

const escaped = (text: string): string => text.replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
const shown = (token: Tokens.Generic): string =>
  `<span class="math${token["isDisplay"] ? " math-block" : ""}">${escaped(token.raw)}</span>`;

/** Where the next of these may begin, or where to look again. */
function next(text: string, pattern: RegExp): number | undefined {
  const at = text.slice(0, AHEAD).search(pattern);
  return at >= 0 ? at : text.length > AHEAD ? AHEAD : undefined;
}

export const formulas: TokenizerAndRendererExtension[] = [
  {
    name: "formulaBlock",
    level: "block",
    start: (text) => {
      const at = text.slice(0, AHEAD).search(/(?<=^|\n) {0,3}(?:\$\$|\\\[)/);
      return at >= 0 ? at : undefined;
    },
    tokenizer(text) {
      const indent = /^ {0,3}(?=\$\$|\\\[)/.exec(text);
      const found = indent && formulaAt(text.slice(indent[0].length));
      const rest = found && /^[ \t]*(?:\n+|$)/.exec(text.slice(indent[0].length + found.raw.length));
      if (!found || !rest) return undefined;
      return { type: "formulaBlock", ...found, raw: indent[0] + found.raw + rest[0] };
    },
    renderer: (token) => `<p>${shown({ ...token, raw: token.raw.trim() })}</p>`,
  },
  {
    name: "formula",
    level: "inline",
    start: (text) => next(text, /\$|\\[([]/),
    tokenizer(text) {
      const found = formulaAt(text);
      return found && { type: "formula", ...found };
    },
    renderer: shown,
  },
];

// ---- drawing ------------------------------------------------------------------------------------

const MATHML = ["math", "mrow", "mstyle", "mpadded", "mphantom", "msqrt", "menclose", "mtable", "mtr", "mtd", "mi", "mn"];
MATHML.push("mo", "mtext", "mspace", "mfrac", "mroot", "msub", "msup", "munder", "mover", "msubsup", "munderover", "#text");
const ATTRIBUTES = ["xmlns", "alttext", "display", "displaystyle", "stretchy", "fence", "form", "separator", "accent"];
ATTRIBUTES.push("accentunder", "movablelimits", "largeop", "symmetric", "mathvariant", "columnalign", "scriptlevel", "notation");
ATTRIBUTES.push("lspace", "rspace", "width", "height", "depth", "voffset", "minsize", "maxsize", "linethickness");

const known = new Map<string, string | null>(); // MathML of each source, or null: it stays
const waiting = new Map<string, Set<HTMLElement>>();
let timer = 0;

/** Draw every formula in here, now or as soon as the server has answered. */
export function typeset(root: ParentNode): void {
  for (const place of root.querySelectorAll<HTMLElement>("span.math:not([data-drawn])")) {
    const source = place.textContent ?? "";
    const told = known.get(source);
    if (told !== undefined) draw(place, told);
    else waiting.set(source, (waiting.get(source) ?? new Set()).add(place));
  }
  if (waiting.size && !timer) timer = window.setTimeout(() => void ask(), PAUSE_MS);
}

async function ask(): Promise<void> {
  const sources = [...waiting.keys()].slice(0, AT_ONCE);
  const places = sources.map((source) => waiting.get(source) ?? new Set<HTMLElement>());
  for (const source of sources) waiting.delete(source);
  let told: (string | null)[] = [];
  try {
    const wanted = sources.map((source) => formulaAt(source)).map((found) => [found?.tex ?? "", found?.isDisplay ?? false]);
    const answer = await fetch("/chat/formulas", {
      method: "POST",
      headers: { "X-CSRFToken": csrfToken(), "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify({ formulas: wanted }),
    });
    if (answer.ok && !answer.redirected) ({ mathml: told } = (await answer.json()) as { mathml: (string | null)[] });
  } catch {
    // Away or signed out: the source can be read.
  }
  sources.forEach((source, at) => {
    const made = told[at];
    if (made !== undefined) known.set(source, made);
    for (const place of places[at] ?? []) draw(place, made ?? null);
  });
  timer = 0;
  if (waiting.size) timer = window.setTimeout(() => void ask(), PAUSE_MS);
}

function draw(place: HTMLElement, made: string | null): void {
  if (made === null) return;
  const drawn = DOMPurify.sanitize(made, {
    ALLOWED_TAGS: MATHML,
    ALLOWED_ATTR: ATTRIBUTES,
    ALLOW_DATA_ATTR: false,
    ALLOW_ARIA_ATTR: false,
    RETURN_DOM_FRAGMENT: true,
  });
  if (!drawn.querySelector("math")) return;
  place.replaceChildren(drawn);
  place.dataset["drawn"] = "";
  requestAnimationFrame(() => {
    if (place.scrollWidth > place.clientWidth) place.tabIndex = 0; // who has no pointer scrolls it by keys
    place.dispatchEvent(new Event("cp-drawn", { bubbles: true }));
  });
}
