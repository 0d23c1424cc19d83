"""People and programs at a small model for a long time: more than it can take, leaving and coming
back, its processes killed under them. Says what was lost, doubled, refused and held in memory.

Knows the site by its doors; processes only to measure and to kill them.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from apps.demo.visitor import Visitor
from calm_engine.figures import Figure

PROMPTS = 8
SAID = 48  # tokens of an answer
PATIENCE = 60.0  # seconds without a sign of life
WARM = 60.0  # seconds that a memory's slope leaves out, of a process's life and behind a kill
SAMPLE = 2.0  # seconds between two looks at memory
JUDGED = 30.0  # minutes from which a slope is judged: shorter ones are mostly noise
SLOPE = 24.0  # MB an hour
KILLS = 8  # in the first half, fewer where that leaves nobody the time to come back
NAMES = {"uvicorn": "web", "workers.hosting": "host", "calm_engine.cli": "model"}


@dataclass
class Tally:
    """What happened, counted by many threads at once."""

    counts: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, name: str, why: str = "") -> None:
        with self.lock:
            self.counts[name] += 1
            if why and len(self.told) < 20:
                self.told.append(f"{name}: {why}")


@dataclass(frozen=True)
class Program:
    """A program with a key, which asks, sometimes leaves, and waits when it is told to."""

    address: str
    key: str
    model: str
    tally: Tally

    def whole(self, http: httpx.Client, prompt: str) -> str:
        """The answer in one piece; asked again until there is one."""
        while True:
            answer = http.post("/v1/chat/completions", json=self._body(prompt, is_streamed=False))
            if answer.status_code == 200:
                said: str = answer.json()["choices"][0]["message"]["content"]
                return said
            self._wait(answer, threading.Event())

    def work(self, expected: dict[str, str], seed: int, ending: threading.Event) -> None:
        """Ask until the end, each answer held against what the model says when it is alone."""
        chance = random.Random(seed)  # noqa: S311  no secret
        with self.client() as http:
            while not ending.is_set():
                prompt = chance.choice(sorted(expected))
                leaves_after = chance.randrange(1, SAID) if chance.random() < 0.3 else None
                try:
                    self._ask(http, prompt, expected[prompt], leaves_after, ending)
                except httpx.HTTPError as error:
                    self.tally.add("broken", type(error).__name__)

    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.key}"}
        return httpx.Client(
            base_url=self.address, headers=headers, timeout=PATIENCE, trust_env=False
        )

    def _ask(
        self,
        http: httpx.Client,
        prompt: str,
        expected: str,
        leaves_after: int | None,
        ending: threading.Event,
    ) -> None:
        body = self._body(prompt, is_streamed=True)
        with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                answer.read()
                self._wait(answer, ending)
                return
            said, end = self._heard(answer, leaves_after)
        self.tally.add(end)
        is_right = said == expected if end == "answered" else expected.startswith(said)
        if end == "silent" or not is_right:
            self.tally.add("wrong", f"{end}: {len(said)} of {len(expected)} characters")

    def _heard(self, answer: httpx.Response, leaves_after: int | None) -> tuple[str, str]:
        """What was said, and how it ended: answered, left, cut (and said so), or silent."""
        said, end, pieces = "", "silent", 0
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line[6:])
            if "error" in event:
                if event["error"]["code"] != "model_not_ready":
                    self.tally.add("wrong", f"a stream ended by {event['error']['code']}")
                return said, "cut"
            choice = (event.get("choices") or [{}])[0]
            said += choice.get("delta", {}).get("content") or ""
            end = "answered" if choice.get("finish_reason") else end
            pieces += 1
            if leaves_after is not None and pieces > leaves_after:
                return said, "left"
        return said, end

    def _wait(self, answer: httpx.Response, ending: threading.Event) -> None:
        """A refusal: counted, and heeded."""
        told = answer.headers.get("retry-after", "")
        if answer.status_code not in (429, 503):
            self.tally.add("wrong", f"refused with {answer.status_code}")
        self.tally.add("refused")
        if not told.isdecimal():
            self.tally.add("refused_without_a_word", str(answer.status_code))
        ending.wait(min(float(told) if told.isdecimal() else 1.0, 5.0))

    def _body(self, prompt: str, *, is_streamed: bool) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        told = {"model": self.model, "messages": messages, "max_tokens": SAID, "temperature": 0}
        return told | {"stream": is_streamed}


@dataclass(frozen=True)
class Person:
    """Somebody in the chat, whose line drops in the middle of answers and who resumes them."""

    visitor: Visitor
    model: str
    tally: Tally

    def work(self, seed: int, ending: threading.Event) -> None:
        chance = random.Random(seed)  # noqa: S311  no secret
        while not ending.is_set():
            try:
                self._ask(chance)
            except httpx.HTTPError as error:
                self.tally.add("broken", type(error).__name__)
            ending.wait(chance.random())

    def _ask(self, chance: random.Random) -> None:
        asked = self.visitor.try_to_ask(f"Question {chance.randrange(PROMPTS)}", self.model)
        if asked.status_code != 200:
            self.tally.add("wrong", f"the chat refused with {asked.status_code}")
            return
        hearing = Hearing()
        while hearing.end is None:
            drops_after = chance.randrange(2, 12) if chance.random() < 0.6 else None
            with closing(self.visitor.follow(asked.json()["stream"], hearing.place)) as events:
                if not hearing.take(events, drops_after):
                    self.tally.add("wrong", "a chat's stream ended without its last event")
                    return
            if hearing.end is None:
                self.tally.add("resumed")
        self.tally.add(f"chat_{hearing.end['state']}")
        if not hearing.is_right(hearing.end):
            said, text = len(hearing.said), len(hearing.end["text"])
            self.tally.add("wrong", f"a chat: {said} of {text} characters")


@dataclass
class Hearing:
    """What somebody heard of one answer, over all their connections.

    place   of the last event, from which the next connection goes on
    end     the last event, which holds the whole text
    fresh   whether the newest connection brought words
    """

    said: str = ""
    place: str = ""
    end: dict[str, str] | None = None
    fresh: bool = False

    def take(self, events: Iterator[tuple[str, str, dict[str, str]]], most: int | None) -> bool:
        """Hear one connection, until it drops after so many events; False: it just ended."""
        self.fresh = False
        for at, (place, event, data) in enumerate(events):
            if event == "done":
                self.end = data
                return True
            self.place = place or self.place
            if event == "token":
                self.said, self.fresh = self.said + data["text"], True
            if at == most:
                return True
        return False

    def is_right(self, end: dict[str, str]) -> bool:
        """Whether what was heard is what was said; who came back late heard the beginning alone."""
        if self.fresh and end["state"] == "complete":
            return self.said == end["text"]
        return end["text"].startswith(self.said)


@dataclass
class Watch:
    """Memory of the site's processes, and now and then the end of one.

    of      the process whose children they are
    calm    when the newest kill was; memory is judged from then on, when everybody is back
    """

    of: psutil.Process
    calm: float = 0.0
    seen: dict[tuple[str, int], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def work(self, ending: threading.Event, tally: Tally, every: float) -> None:
        """Look until the end; every so many seconds end a model server, then its host, KILLS in
        all."""
        due, kills = time.monotonic() + every, 0
        while not ending.wait(SAMPLE):
            found = dict(self.processes())
            for process, name in found.items():
                with suppress(psutil.Error):
                    size = process.memory_info().rss / 2**20
                    self.seen[name, process.pid].append((time.monotonic(), size))
            if time.monotonic() >= due and kills < KILLS:
                kills += 1
                wanted = "model" if kills % 2 else "host"
                for process in [one for one, name in found.items() if name == wanted][:1]:
                    with suppress(psutil.Error):
                        process.kill()
                        tally.add(f"killed_{wanted}")
                self.calm = time.monotonic()
                due = self.calm + every

    def processes(self) -> Iterator[tuple[psutil.Process, str]]:
        for process in self.of.children(recursive=True):
            with suppress(psutil.Error):
                words = " ".join(process.cmdline())
                name = next((told for word, told in NAMES.items() if word in words), "")
                if name:
                    yield process, name

    def slope(self, name: str) -> float | None:
        """MB an hour since the newest kill, by least squares over all processes of this name, each
        from its own size.

        None where no process lived long enough.
        """
        over = under = 0.0
        for (of, _pid), looks in self.seen.items():
            begun = max(looks[0][0], self.calm)
            later = [look for look in looks if look[0] - begun >= WARM]
            if of != name or len(later) < 2:
                continue
            middle = [sum(values) / len(later) for values in zip(*later, strict=True)]
            over += sum((at - middle[0]) * (size - middle[1]) for at, size in later)
            under += sum((at - middle[0]) ** 2 for at, _ in later)
        return over / under * 3600 if under else None


def soak(
    programs: Sequence[Program],
    people: Sequence[Person],
    watch: Watch,
    tally: Tally,
    *,
    minutes: float,
) -> None:
    """Let everybody work for so long."""
    ending = threading.Event()
    with programs[0].client() as http:
        prompts = [f"Question {number}" for number in range(PROMPTS)]
        expected = {prompt: programs[0].whole(http, prompt) for prompt in prompts}
    every = max(45.0, minutes * 30 / KILLS)  # a killed server is back after some ten seconds
    works: list[Callable[[], None]] = [
        lambda one=one, at=at: one.work(expected, at, ending)  # type: ignore[misc]
        for at, one in enumerate(programs)
    ]
    works += [
        lambda one=one, at=at: one.work(at, ending)  # type: ignore[misc]
        for at, one in enumerate(people)
    ]
    works.append(lambda: watch.work(ending, tally, every))
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    time.sleep(minutes * 60)
    ending.set()
    for thread in threads:
        thread.join(2 * PATIENCE)


def figures(tally: Tally, watch: Watch, *, minutes: float) -> Iterator[Figure]:
    """What is wanted of them: no word wrong, no refusal without a time, memory at rest."""
    counts = tally.counts
    answered = counts["answered"] + counts["chat_complete"]
    yield Figure("soak.answered", answered, "answers", f"in {minutes:g} minutes", 1, at_least=True)
    told = "answers with a word lost, doubled or other than alone, ends without a word"
    yield Figure("soak.wrong", counts["wrong"], "answers", told, 0)
    yield Figure("soak.broken", counts["broken"], "requests", "connections that broke", 0)
    told = "told to come back (429, 503)"
    yield Figure("soak.refused", counts["refused"], "requests", told)
    told = "of these without Retry-After"
    yield Figure("soak.refused_mute", counts["refused_without_a_word"], "requests", told, 0)
    for name, told in (
        ("left", "answers whose program went away"),
        ("cut", "answers that ended with an error, their server killed"),
        ("resumed", "times that a chat went on where its line had dropped"),
        ("chat_failed", "chats that ended with an error, their server killed"),
        ("killed_model", "model servers killed"),
        ("killed_host", "model hosts killed"),
    ):
        yield Figure(f"soak.{name}", counts[name], "times", told)
    bar = SLOPE if minutes >= JUDGED else None
    for name in NAMES.values():
        slope = watch.slope(name)
        if slope is not None:
            told = f"resident memory of the {name}, from {WARM:g} seconds after the last kill on"
            yield Figure(f"soak.memory.{name}", slope, "MB an hour", told, bar)
