// Where the conversation is.

import "./styles/chat.css";
import { Chat } from "./elements/chat";

customElements.define("cp-chat", Chat);
