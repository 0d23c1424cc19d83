// Every sentence that a script shows, in one place: the catalogue of the browser side.
// Numbers, sizes and times are worded by Intl in the page's language.

const language = document.documentElement.lang || "en";
const numbers = new Intl.NumberFormat(language);
const short = new Intl.NumberFormat(language, { maximumSignificantDigits: 4 });
const clock = new Intl.DateTimeFormat(language, { timeStyle: "medium" });
const moment = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
const plural = new Intl.PluralRules(language);

const of = (count: number, one: string, other: string): string =>
  `${numbers.format(count)} ${plural.select(count) === "one" ? one : other}`;

export const number = (value: number): string => numbers.format(value);
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

export const words = {
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
  chartSummary: (name: string, first: number, last: number, low: number, lowStep: number, high: number, highStep: number) =>
    `${name} went from ${figure(first)} to ${figure(last)}` +
    (low < last && low < first ? `, lowest ${figure(low)} at step ${number(lowStep)}` : "") +
    (high > last && high > first ? `, highest ${figure(high)} at step ${number(highStep)}` : ""),
  smooth: "Smooth the lines",
  logAxis: "Logarithmic axis",
  best: (name: string, value: number, step: number) => `Best ${name} so far: ${figure(value)} at step ${number(step)}.`,
  step: "Step",
  table: "Table",
  csv: "Save as CSV",

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
  code: "code",
} as const;
