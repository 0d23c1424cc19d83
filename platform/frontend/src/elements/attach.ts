// Puts a text file into the question, fenced and under its name: it joins this conversation alone and
// enters no corpus. Knows no server: what is sent is the question that people see.

import { button, element } from "../page";
import { words } from "../words";

const KINDS = ".txt,.md,.csv,.tsv,.json,.log,.xml,.yaml,.yml,.html,.py,.sql,text/*";

/** A button that adds a file to this field, and its chooser; `refuse` is told why one was not taken. */
export function attaching(field: HTMLTextAreaElement, refuse: (sentence: string) => void): HTMLElement[] {
  const chooser = element("input", { type: "file", accept: KINDS, hidden: true });
  chooser.addEventListener("change", () => {
    const file = chooser.files?.[0];
    chooser.value = "";
    if (file) void add(file, field, refuse);
  });
  return [chooser, button(words.attach, "plain", () => chooser.click())];
}

async function add(file: File, field: HTMLTextAreaElement, refuse: (sentence: string) => void): Promise<void> {
  const room = field.maxLength - field.value.length;
  if (file.size > room * 4) return refuse(words.attachTooLong(file.name, file.size)); // bytes of UTF-8
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch {
    return refuse(words.attachNoText(file.name));
  }
  const fence = "`".repeat(Math.max(3, ...Array.from(text.matchAll(/`+/g), ([run]) => run.length + 1)));
  const added = `${field.value ? "\n\n" : ""}${file.name}:\n${fence}\n${text.trimEnd()}\n${fence}\n`;
  if (added.length > room) return refuse(words.attachTooLong(file.name, file.size));
  field.value += added;
  field.dispatchEvent(new Event("input", { bubbles: true }));
  field.focus();
}
