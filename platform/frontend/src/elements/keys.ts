// <cp-keys>: lets single keys press the buttons that name them (data-key), and lets a person switch
// that off (WCAG 2.1.4). Keys do nothing while a field is being filled in.

import { element } from "../page";
import { words } from "../words";

const OFF = "keys-off";

export const singleKeysAreOn = (): boolean => localStorage.getItem(OFF) === null;

export class Keys extends HTMLElement {
  #choice = element("input", { type: "checkbox", id: "keys-on" }) as HTMLInputElement;

  connectedCallback(): void {
    if (this.#choice.isConnected) return;
    this.#choice.checked = singleKeysAreOn();
    this.#choice.addEventListener("change", () => {
      if (this.#choice.checked) localStorage.removeItem(OFF);
      else localStorage.setItem(OFF, "1");
    });
    const label = element("label", { htmlFor: "keys-on", textContent: words.singleKeys });
    this.append(element("div", { className: "field-check" }, this.#choice, label));
    document.addEventListener("keydown", this.#press);
  }

  disconnectedCallback(): void {
    document.removeEventListener("keydown", this.#press);
  }

  #press = (event: KeyboardEvent): void => {
    const inField = event.target instanceof HTMLElement && event.target.matches("input:not([type=checkbox]), textarea, select");
    if (!this.#choice.checked || inField || event.ctrlKey || event.metaKey || event.altKey) return;
    const wanted = [...document.querySelectorAll<HTMLElement>("[data-key]")].find(
      (each) => each.dataset["key"] === event.key.toLowerCase(),
    );
    if (!wanted) return;
    event.preventDefault();
    wanted.click();
  };
}
