// Every sentence that a script shows, in one place: the catalogue of the browser side.
// Numbers, sizes and times are worded by Intl in the page's language.

const language = document.documentElement.lang || "en";
const numbers = new Intl.NumberFormat(language);
const short = new Intl.NumberFormat(language, { maximumSignificantDigits: 4 });
const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const days = new Intl.DateTimeFormat(language, { month: "short", day: "numeric", timeZone: "UTC" });
const plural = new Intl.PluralRules(language);

const of = (count: number, one: string, other: string): string =>
  `${numbers.format(count)} ${plural.select(count) === "one" ? one : other}`;

export const number = (value: number): string => numbers.format(value);
/** A day by its number since 1970: the first of every calendar a chart counts in. */
export const dayOf = (count: number): string => days.format(new Date(count * 86_400_000));
export const figure = (value: number): string => short.format(value);
export const timeOfDay = (at: Date): string => clock.format(at);
export const dateAndTime = (at: Date): string => moment.format(at);

export function size(bytes: number): string {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"] as const;
  const step = bytes < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(bytes) / 3));
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: units[step] ?? "byte",
    maximumFractionDigits: step > 1 ? 1 : 0,
  }).format(bytes / 1000 ** step);
}

export function duration(seconds: number): string {
  const [value, unit] =
    seconds < 90 ? [Math.max(1, Math.round(seconds)), "second"] : [Math.round(seconds / 60), "minute"];
  return new Intl.NumberFormat(language, { style: "unit", unit: unit as string }).format(value as number);
}

const english = {
  copied: "Copied",
  copy: "Copy",
  copyFailed: "Could not copy: select the text instead",
  livePaused: (at: Date) => `Live updates paused, last ${timeOfDay(at)}`,

  dropHere: "Drop files or whole folders here, or choose them. Sending starts at once.",
  chooseFolder: "Choose a folder",
  stopSending: "Stop sending",
  tryAgain: "Send the rest again",
  reading: "Reading the folder…",
  nothingToSend: "No files in what you dropped.",
  sending: (done: number, total: number, sent: number, all: number) =>
    `${number(done)} of ${of(total, "file", "files")} sent, ${size(sent)} of ${size(all)}`,
  left: (low: number, high: number) => `${duration(low)} to ${duration(high)} left`,
  measuring: "measuring…",
  allSent: (total: number) => `All ${of(total, "file", "files")} sent. Opening the outcome…`,
  stoppedSending: (done: number, total: number) =>
    `Stopped after ${number(done)} of ${of(total, "file", "files")}. What was sent is kept.`,
  sendFailed: (done: number, total: number) =>
    `The connection broke after ${number(done)} of ${of(total, "file", "files")}. What was sent is kept.`,
  singleKeys: "Single keys press the buttons that name them",
  refused: "The server refused these files.",

  passkeyBrokenOff: "Nothing happened: it was broken off, or took too long. Try again.",
  passkeyKnown: "This device has a passkey for you already.",
  passkeyAddress: "Passkeys need the site's name in the address line, not a number. Open the site by its name.",
  passkeyFailed: "The passkey could not be used. Sign in another way, or try again.",

  chartLoading: "Reading the numbers…",
  chartEmpty: "No numbers yet: they appear with the first measured step.",
  chartFailed: "The numbers could not be read. Reload the page to try again.",
  chartSummary: (name: string, first: number, last: number, low: number, lowAt: string, high: number, highAt: string) =>
    `${name} went from ${figure(first)} to ${figure(last)}` +
    (low < last && low < first ? `, lowest ${figure(low)} ${lowAt}` : "") +
    (high > last && high > first ? `, highest ${figure(high)} ${highAt}` : ""),
  atStep: (step: number) => `at step ${number(step)}`,
  onDay: (day: number) => `on ${dayOf(day)}`,
  day: "Day",
  smooth: "Smooth the lines",
  logAxis: "Logarithmic axis",
  best: (name: string, value: number, step: number) => `Best ${name} so far: ${figure(value)} at step ${number(step)}.`,
  step: "Step",
  table: "Table",
  csv: "Save as CSV",

  attach: "Attach text",
  attachTooLong: (name: string, bytes: number) =>
    `${name} has ${size(bytes)}, more than the question has room for. Take a part of it.`,
  attachNoText: (name: string) => `${name} is no plain text. Only text can be read along with a question.`,
  history: "Conversations",
  stop: "Stop",
  you: "You",
  model: "Model",
  latest: "Latest",
  waiting: "Waiting for the model",
  writing: "Writing",
  stopping: "Stopping…",
  answering: "Answering…",
  finished: (count: number) => `Answer finished, ${of(count, "word", "words")}.`,
  stopped: (count: number) => `Stopped after ${of(count, "word", "words")}`,
  failed: "The answer broke off. Ask again, or choose another model.",
  lost: "Connection lost. The answer goes on without this page; it appears here when it is done.",
  notSent: "Not sent: the server cannot be reached. Your text is kept.",
  refusedQuestion: "Not sent. Your text is kept.",
  signedOut: "You are signed out. Your text stays here: sign in in another tab, then ask again.",
  signIn: "Sign in",
  code: "code",
};

type Words = typeof english;

const german: Words = {
  copied: "Kopiert",
  copy: "Kopieren",
  copyFailed: "Kopieren ging nicht: Markieren Sie stattdessen den Text",
  livePaused: (at) => `Aktualisierung unterbrochen, zuletzt ${timeOfDay(at)}`,

  dropHere: "Dateien oder ganze Ordner hier ablegen oder auswählen. Das Senden beginnt sofort.",
  chooseFolder: "Ordner wählen",
  stopSending: "Senden anhalten",
  tryAgain: "Den Rest noch einmal senden",
  reading: "Der Ordner wird gelesen…",
  nothingToSend: "Keine Dateien in dem, was Sie abgelegt haben.",
  sending: (done, total, sent, all) =>
    `${number(done)} von ${of(total, "Datei", "Dateien")} gesendet, ${size(sent)} von ${size(all)}`,
  left: (low, high) => `noch ${duration(low)} bis ${duration(high)}`,
  measuring: "wird gemessen…",
  allSent: (total) => `Alles gesendet, ${of(total, "Datei", "Dateien")}. Das Ergebnis wird geöffnet…`,
  stoppedSending: (done, total) =>
    `Angehalten nach ${number(done)} von ${of(total, "Datei", "Dateien")}. Was gesendet war, ist aufgehoben.`,
  sendFailed: (done, total) =>
    `Die Verbindung riss nach ${number(done)} von ${of(total, "Datei", "Dateien")} ab. Was gesendet war, ist aufgehoben.`,
  singleKeys: "Einzelne Tasten drücken die Schaltflächen, die sie nennen",
  refused: "Der Server hat diese Dateien abgelehnt.",

  passkeyBrokenOff: "Nichts ist geschehen: Es wurde abgebrochen oder dauerte zu lange. Versuchen Sie es noch einmal.",
  passkeyKnown: "Dieses Gerät hat schon einen Passkey für Sie.",
  passkeyAddress: "Passkeys brauchen den Namen der Site in der Adresszeile, keine Zahl. Öffnen Sie sie mit ihrem Namen.",
  passkeyFailed: "Der Passkey ließ sich nicht benutzen. Melden Sie sich anders an, oder versuchen Sie es noch einmal.",

  chartLoading: "Die Zahlen werden gelesen…",
  chartEmpty: "Noch keine Zahlen: Sie erscheinen mit dem ersten gemessenen Schritt.",
  chartFailed: "Die Zahlen ließen sich nicht lesen. Laden Sie die Seite neu.",
  chartSummary: (name, first, last, low, lowAt, high, highAt) =>
    `${name} ging von ${figure(first)} auf ${figure(last)}` +
    (low < last && low < first ? `, am niedrigsten ${figure(low)} ${lowAt}` : "") +
    (high > last && high > first ? `, am höchsten ${figure(high)} ${highAt}` : ""),
  atStep: (step) => `bei Schritt ${number(step)}`,
  onDay: (day) => `am ${dayOf(day)}`,
  day: "Tag",
  smooth: "Linien glätten",
  logAxis: "Logarithmische Achse",
  best: (name, value, step) => `Bisher bestes ${name}: ${figure(value)} bei Schritt ${number(step)}.`,
  step: "Schritt",
  table: "Tabelle",
  csv: "Als CSV speichern",

  attach: "Text anhängen",
  attachTooLong: (name, bytes) =>
    `${name} hat ${size(bytes)}, mehr als in der Frage Platz ist. Nehmen Sie einen Teil davon.`,
  attachNoText: (name) => `${name} ist kein reiner Text. Nur Text lässt sich mit einer Frage lesen.`,
  history: "Gespräche",
  stop: "Anhalten",
  you: "Sie",
  model: "Modell",
  latest: "Zum Neuesten",
  waiting: "Wartet auf das Modell",
  writing: "Schreibt",
  stopping: "Hält an…",
  answering: "Antwortet…",
  finished: (count) => `Antwort fertig, ${of(count, "Wort", "Wörter")}.`,
  stopped: (count) => `Nach ${of(count, "Wort", "Wörtern")} angehalten`,
  failed: "Die Antwort ist abgebrochen. Fragen Sie noch einmal, oder wählen Sie ein anderes Modell.",
  lost: "Verbindung verloren. Die Antwort geht ohne diese Seite weiter; sie erscheint hier, wenn sie fertig ist.",
  notSent: "Nicht gesendet: Der Server ist nicht zu erreichen. Ihr Text ist aufgehoben.",
  refusedQuestion: "Nicht gesendet. Ihr Text ist aufgehoben.",
  signedOut: "Sie sind abgemeldet. Ihr Text bleibt hier stehen: Melden Sie sich in einem anderen Tab an, und fragen Sie dann noch einmal.",
  signIn: "Anmelden",
  code: "Code",
};

export const words: Words = language.startsWith("de") ? german : english;
