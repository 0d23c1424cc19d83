// Sends one file in pieces by the tus protocol 1.0, and remembers where it stood. Knows no page.
// A closed laptop, a reload or a broken line costs at most the piece that was on its way.

import { csrfToken } from "./page";

export const PIECE = 8_000_000; // bytes; smaller files travel in batches instead
const TRIES = 5;

export type Place = { upload: string; page: string };

/** The server will not take this; `place` when it wrote that down as the file's outcome. */
export class Refusal extends Error {
  constructor(
    message: string,
    readonly place: Place | null = null,
  ) {
    super(message);
  }
}

/** What one corpus's page remembers between visits: the delivery and where each file is sent. */
export class Memory {
  readonly #key: string;
  constructor(address: string) {
    this.#key = `upload:${address}`;
  }

  read(): { place: Place | null; files: Record<string, string> } {
    try {
      const found = JSON.parse(localStorage.getItem(this.#key) ?? "null");
      if (found) return found;
    } catch {
      // No storage, or somebody else's words in it: begin anew.
    }
    return { place: null, files: {} };
  }

  write(place: Place | null, files: Record<string, string>): void {
    try {
      localStorage.setItem(this.#key, JSON.stringify({ place, files }));
    } catch {
      // Without storage a reload begins anew; nothing else is lost.
    }
  }

  forget(): void {
    try {
      localStorage.removeItem(this.#key);
    } catch {
      // It was never written.
    }
  }
}

/** `path:size` of every file that the server has of this delivery already. */
export async function received(place: Place): Promise<Set<string> | null> {
  const answer = await fetch(`${place.page}received`, { headers: { Accept: "application/json" } });
  if (!answer.ok) return null;
  const { files } = (await answer.json()) as { files: [string, number][] };
  return new Set(files.map(([path, size]) => `${path}:${size}`));
}

type Way = {
  begin: string; // the address where files are begun
  memory: Memory;
  progress: (sent: number) => void;
  signal: AbortSignal;
};

export async function sendInPieces(file: File, path: string, place: Place | null, way: Way): Promise<Place | null> {
  const mark = `${path}:${file.size}:${file.lastModified}`;
  let address = way.memory.read().files[mark] ?? "";
  let at = address ? await position(address, way.signal) : -1;
  if (at < 0) {
    const begun = await begin(file, path, place, way.begin, way.signal);
    address = begun.address;
    place = begun.place ?? place;
    at = 0;
    way.memory.write(place, { ...way.memory.read().files, [mark]: address });
  }
  for (let tries = 0; at < file.size; ) {
    way.progress(at);
    try {
      const answer = await ask(address, "PATCH", way.signal, { "Upload-Offset": String(at) }, file.slice(at, at + PIECE));
      at = Number(answer.headers.get("Upload-Offset"));
      tries = 0;
    } catch (error) {
      if (error instanceof Refusal || way.signal.aborted || ++tries === TRIES) throw error;
      await new Promise((resolve) => setTimeout(resolve, 1000 * 2 ** tries));
      // What is safe is the server's word, not ours; when it is gone, the last answer was lost.
      const safe = await position(address, way.signal).catch(() => at);
      if (safe < 0) break;
      at = safe;
    }
  }
  const { [mark]: _done, ...others } = way.memory.read().files;
  way.memory.write(place, others);
  return place;
}

async function begin(file: File, path: string, place: Place | null, address: string, signal: AbortSignal) {
  const told = [`path ${encoded(path)}`, ...(place ? [`upload ${encoded(place.upload)}`] : [])].join(",");
  const answer = await ask(address, "POST", signal, { "Upload-Length": String(file.size), "Upload-Metadata": told });
  return { address: answer.headers.get("Location") ?? "", place: placeOf(answer) };
}

function placeOf(answer: Response): Place | null {
  const [upload, page] = [answer.headers.get("Upload-Delivery"), answer.headers.get("Upload-Page")];
  return upload && page ? { upload, page } : null;
}

/** How many bytes are safe; -1 when the server knows no such file any more. */
async function position(address: string, signal: AbortSignal): Promise<number> {
  const answer = await fetch(address, { method: "HEAD", headers: { "Tus-Resumable": "1.0.0" }, signal });
  if (answer.status >= 500) throw new Error(String(answer.status));
  return answer.ok ? Number(answer.headers.get("Upload-Offset")) : -1;
}

async function ask(address: string, method: string, signal: AbortSignal, heads: Record<string, string>, body?: Blob): Promise<Response> {
  const headers: Record<string, string> = { "Tus-Resumable": "1.0.0", "X-CSRFToken": csrfToken(), ...heads };
  if (body) headers["Content-Type"] = "application/offset+octet-stream";
  const answer = await fetch(address, { method, headers, signal, ...(body ? { body } : {}) });
  if (answer.ok) return answer;
  // 409 and 423 end by asking where the file stands; other refusals are final.
  if (answer.status >= 500 || answer.status === 409 || answer.status === 423) throw new Error(String(answer.status));
  throw new Refusal((await answer.text()).slice(0, 300), placeOf(answer));
}

const encoded = (text: string): string => btoa(String.fromCharCode(...new TextEncoder().encode(text)));
