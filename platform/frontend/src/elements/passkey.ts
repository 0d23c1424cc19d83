// <cp-passkey>: lets the person's own device fill in a form's credential (WebAuthn, level 2). Hidden
// until this runs: without script there are no passkeys. What to ask the device stands in the page, in
// the JSON block that data-options names; without one the form's own address is asked for it.

import { words } from "../words";

type Options = { publicKey: Record<string, unknown> };
type Descriptor = { id: string };

export class Passkey extends HTMLElement {
  connectedCallback(): void {
    const form = this.querySelector("form");
    if (!form || !window.isSecureContext || !window.PublicKeyCredential) return;
    this.hidden = false;
    document.querySelector<HTMLElement>("[data-no-passkey]")?.setAttribute("hidden", "");
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#ask(form);
    });
  }

  async #ask(form: HTMLFormElement): Promise<void> {
    const [field, told] = [form.querySelector<HTMLInputElement>("[name=credential]"), form.querySelector<HTMLElement>("[role=alert]")];
    const send = form.querySelector("button");
    if (!field || !told || !send) return;
    told.hidden = true;
    send.disabled = true; // a second ceremony beside a running one is refused by the browser
    try {
      const made = this.dataset["act"] === "create" ? await create(form, await this.#options(form)) : await get(await this.#options(form));
      field.value = JSON.stringify(made);
      form.submit();
    } catch (fault) {
      told.textContent = worded(fault);
      told.hidden = false;
      send.disabled = false;
    }
  }

  async #options(form: HTMLFormElement): Promise<Options> {
    const block = document.getElementById(this.dataset["options"] ?? "")?.textContent;
    if (block) return (JSON.parse(block) as Record<string, Options>)[this.dataset["act"] === "create" ? "creation_options" : "request_options"] as Options;
    const answer = await fetch(form.action, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(String(answer.status));
    return ((await answer.json()) as { request_options: Options }).request_options;
  }
}

async function create(form: HTMLFormElement, { publicKey }: Options): Promise<unknown> {
  const alone = form.querySelector<HTMLInputElement>("[name=passwordless]")?.checked ?? false;
  const user = publicKey["user"] as Descriptor;
  const made = (await navigator.credentials.create({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey["challenge"] as string),
      user: { ...user, id: bytes(user.id) },
      excludeCredentials: listed(publicKey["excludeCredentials"]),
      authenticatorSelection: {
        ...(publicKey["authenticatorSelection"] as AuthenticatorSelectionCriteria),
        residentKey: alone ? "required" : "discouraged",
        requireResidentKey: alone,
        ...(alone ? { userVerification: "required" as const } : {}),
      },
    } as unknown as PublicKeyCredentialCreationOptions,
  })) as PublicKeyCredential;
  const answer = made.response as AuthenticatorAttestationResponse;
  return shown(made, { attestationObject: text(answer.attestationObject), transports: answer.getTransports?.() ?? [] });
}

async function get({ publicKey }: Options): Promise<unknown> {
  const made = (await navigator.credentials.get({
    publicKey: {
      ...publicKey,
      challenge: bytes(publicKey["challenge"] as string),
      allowCredentials: listed(publicKey["allowCredentials"]),
    } as PublicKeyCredentialRequestOptions,
  })) as PublicKeyCredential;
  const answer = made.response as AuthenticatorAssertionResponse;
  return shown(made, {
    authenticatorData: text(answer.authenticatorData),
    signature: text(answer.signature),
    userHandle: answer.userHandle ? text(answer.userHandle) : null,
  });
}

function shown(made: PublicKeyCredential, response: object): unknown {
  return {
    id: made.id,
    rawId: text(made.rawId),
    type: made.type,
    clientExtensionResults: made.getClientExtensionResults(),
    response: { clientDataJSON: text(made.response.clientDataJSON), ...response },
  };
}

/** Only what has a remedy of its own gets its own words. */
function worded(fault: unknown): string {
  const name = fault instanceof DOMException ? fault.name : "";
  if (name === "NotAllowedError") return words.passkeyBrokenOff;
  if (name === "InvalidStateError") return words.passkeyKnown;
  if (name === "SecurityError") return words.passkeyAddress;
  return words.passkeyFailed;
}

const listed = (found: unknown): PublicKeyCredentialDescriptor[] =>
  ((found ?? []) as Descriptor[]).map((each) => ({ ...each, id: bytes(each.id) }) as unknown as PublicKeyCredentialDescriptor);

const bytes = (url64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(url64.replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));

const text = (buffer: ArrayBuffer): string =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
