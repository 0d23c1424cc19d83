// On every page: styles, htmx, live regions, upload, passkeys.

import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/layout.css";
import "./styles/components.css";
import "./styles/forced.css";
import "./styles/print.css";
import "htmx.org";
import { Keys } from "./elements/keys";
import { Live } from "./elements/live";
import { Passkey } from "./elements/passkey";
import { Upload } from "./elements/upload";
import { improve, offerThemes } from "./page";

customElements.define("cp-keys", Keys);
customElements.define("cp-live", Live);
customElements.define("cp-passkey", Passkey);
customElements.define("cp-upload", Upload);

improve(document);
offerThemes();
// A form that only carries a message on to the provider; without script it has its button.
document.querySelector<HTMLFormElement>("form[data-at-once]")?.requestSubmit();
document.addEventListener("htmx:after:swap", () => improve(document));
