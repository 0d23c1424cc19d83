"""Two tokenizers over one text: which tokens an augmenter reads where the anchor reads others.

At every anchor token the augmenter's tokens are those of the text up to that token's last byte, and
of nothing after it. Knows tokenizers and bytes; knows no tensors, models or caches.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from tokenizers import Encoding, Tokenizer
from transformers import PreTrainedTokenizerBase

from calm_engine.errors import InputError

# A piece is encoded on its own and never again once the next has begun. It ends before a space that
# follows a word, where tokenizers do not merge; without such a space after so many bytes.
LONGEST = 256
_WORD_END = re.compile(rb"[^ \t\n\r\f\v](?= )")

BEFORE = "ab"  # any word: a piece that begins with a space is encoded behind it
KNOWN = 100_000  # pieces whose tokens are remembered


class Spelling:
    """The bytes that each id of a tokenizer stands for.

    texts     by id; ids that the tokenizer does not have stand for none
    specials  the written form of special tokens by id; they are no text
    leads     whether the tokenizer begins every text with a space that nobody wrote
    Raises InputError("compose.tokenizer") for a tokenizer whose tokens do not spell bytes.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        bare = bare_tokenizer(tokenizer)
        decoder = _decoder(bare)
        spell = _speller(decoder)
        added = bare.get_added_tokens_decoder()
        self.specials = {index: one.content for index, one in added.items() if one.special}
        self.texts = {
            index: added[index].content.encode() if index in added else spell(word)
            for word, index in bare.get_vocab(with_added_tokens=True).items()
            if index not in self.specials
        }
        self.leads = any(
            part.get("prepend_scheme", "never") != "never" or part.get("start", 0) > 0
            for part in decoder
        )


class Encoder:
    """A tokenizer that reads bytes, piece by piece; special tokens in a text are plain text to it.

    Raises InputError("compose.tokenizer") for a tokenizer that merges across words.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._bare = Tokenizer.from_str(bare_tokenizer(tokenizer).to_str())
        self._bare.no_padding()
        self._bare.no_truncation()
        self._bare.encode_special_tokens = True
        self._bytes = _byte_words(self._bare)
        self._known: dict[tuple[bytes, bool], tuple[int, ...]] = {}
        self._before, whole = (
            list[int](self._bare.encode(text, add_special_tokens=False).ids)
            for text in (BEFORE, f"{BEFORE} cd")
        )
        if whole[: len(self._before)] != self._before:
            raise _refusal("it merges across words")

    def encode(self, piece: bytes, *, begins: bool) -> tuple[int, ...]:
        """The tokens of a piece; an unfinished character at its end is spelt byte by byte.

        begins   the piece begins a text: nothing stands before it, or a special token
        """
        known = self._known.get((piece, begins))
        if known is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            known = self._known[piece, begins] = self._encoded(piece, begins=begins)
        return known

    def _encoded(self, piece: bytes, *, begins: bool) -> tuple[int, ...]:
        whole = len(piece) - _unfinished(piece)
        text = piece[:whole].decode(errors="replace")
        # Some tokenizers put a space of their own before every text, but not before what goes on.
        before = self._before if text.startswith(" ") and not begins else []
        told = BEFORE + text if before else text
        encoding: Encoding = self._bare.encode(told, add_special_tokens=False)
        ids = encoding.ids if whole == len(piece) else self._spelt(encoding, piece[whole:])
        return (*ids[len(before) :],)

    def _spelt(self, encoding: Encoding, rest: bytes) -> list[int]:
        """The tokens of a text and of an unfinished character after it, as its last word goes on.

        A tokenizer without bytes waits for the whole character.
        """
        ids: list[int] = encoding.ids
        if self._bytes is None:
            return ids
        if isinstance(self._bytes[0], int):
            return [*ids, *(int(self._bytes[one]) for one in rest)]
        begun = len(ids)
        while begun and encoding.word_ids[begun - 1] == encoding.word_ids[-1] is not None:
            begun -= 1
        letters = "".join(str(self._bytes[one]) for one in rest)
        word = "".join(encoding.tokens[begun:]) + letters
        return [*ids[:begun], *(token.id for token in self._bare.model.tokenize(word))]


class Alignment:
    """An anchor's tokenizer and an augmenter's: the one's ids in, the other's out.

    A special token of the anchor is the augmenter's of the same written form, or of the same part
    (first of a text, end of an answer); any other is read as the plain text of its written form.
    Raises InputError("compose.tokenizer") for tokenizers that cannot be read by bytes.
    """

    def __init__(self, anchor: PreTrainedTokenizerBase, augmenter: PreTrainedTokenizerBase) -> None:
        self.anchor, self.augmenter = anchor, augmenter
        self.spelling = Spelling(anchor)
        self.encoder = Encoder(augmenter)
        theirs = bare_tokenizer(augmenter).get_added_tokens_decoder()
        known = {one.content: index for index, one in theirs.items() if one.special}
        for name in ("bos_token", "eos_token"):
            ours, other = getattr(anchor, name), getattr(augmenter, name)
            if ours is not None and other in known:
                known.setdefault(str(ours), known[str(other)])
        self.specials = {
            index: (known[form],)
            if form in known
            else self.encoder.encode(form.encode(), begins=True)
            for index, form in self.spelling.specials.items()
        }

    def __deepcopy__(self, _memo: object) -> Alignment:
        return self  # nothing in it changes, and a cache that is copied brings it along

    def reader(self) -> Reader:
        """Someone who has read nothing yet."""
        return Reader(self)


class Reader:
    """What an augmenter has read of one row, token by token of the anchor.

    path     the augmenter's tokens of the text so far; the last of them may change with the next
    births   for each, the anchor's position at which it came to be
    """

    def __init__(self, alignment: Alignment) -> None:
        self._alignment = alignment
        self.path: list[int] = []
        self.births: list[int] = []
        self._closed = 0  # tokens that cannot change any more
        self._piece = b""
        self._begins = True
        self._is_blank = True  # no text yet since the beginning or a special token

    def copy(self) -> Reader:
        other = Reader(self._alignment)
        other.__dict__ |= self.__dict__ | {"path": [*self.path], "births": [*self.births]}
        return other

    def take(self, token: int, position: int) -> int:
        """Read one more of the anchor's tokens; how many tokens of the path stayed as they were."""
        encode = self._alignment.encoder.encode
        closed = self._close(token)
        fresh = [*closed, *encode(self._piece, begins=self._begins)]
        same = 0
        for old, new in zip(self.path[self._closed :], fresh, strict=False):
            if old != new:
                break
            same += 1
        stayed = self._closed + same
        self._closed += len(closed)
        self.path[stayed:] = fresh[same:]
        self.births[stayed:] = [position] * (len(fresh) - same)
        return stayed

    def _close(self, token: int) -> list[int]:
        """Take over the token's text or mark; the tokens of all pieces that this ends."""
        alignment, encode = self._alignment, self._alignment.encoder.encode
        if token in alignment.specials:
            ended = encode(self._piece, begins=self._begins)
            self._piece, self._begins, self._is_blank = b"", True, True
            return [*ended, *alignment.specials[token]]
        text = alignment.spelling.texts.get(token, b"")
        if self._is_blank and text:
            text = text.removeprefix(b" ") if alignment.spelling.leads else text
            self._is_blank = False
        self._piece += text
        closed: list[int] = []
        while seam := _seam(self._piece):
            closed += encode(self._piece[:seam], begins=self._begins)
            self._piece, self._begins = self._piece[seam:], False
        return closed


def bare_tokenizer(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The tokenizers library's object inside. Raises InputError("compose.tokenizer")."""
    bare = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(bare, Tokenizer):
        raise _refusal("it has no tokenizer.json")
    return bare


def _seam(piece: bytes) -> int:
    """Where the first piece of a text ends; 0 while it may go on. A function of these bytes."""
    found = _WORD_END.search(piece)
    if found and found.end() <= LONGEST:
        return found.end()
    if len(piece) <= LONGEST:
        return 0
    seam = LONGEST
    while seam > LONGEST - 4 and piece[seam] & 0xC0 == 0x80:  # never inside a character
        seam -= 1
    return seam


def _unfinished(text: bytes) -> int:
    """How many bytes at the end begin a character of UTF-8 that is not whole yet."""
    for back in range(1, min(3, len(text)) + 1):
        lead = text[-back]
        if lead & 0xC0 == 0x80:
            continue
        wanted = 2 if 0xC2 <= lead < 0xE0 else 3 if 0xE0 <= lead < 0xF0 else 4
        return back if 0xC2 <= lead < 0xF5 and back < wanted else 0
    return 0


def _letters() -> dict[int, str]:
    """The letter that byte-level tokenizers write for each byte: itself where it can be shown."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = {byte: chr(byte) for byte in shown}
    return letters | {byte: chr(0x100 + number) for number, byte in enumerate(hidden)}


def _speller(decoder: Sequence[dict[str, Any]]) -> Any:
    """From a token's word to its bytes, by the kind of decoder. Raises "compose.tokenizer"."""
    kinds = {part["type"] for part in decoder}
    if "ByteLevel" in kinds:
        bytes_of = {letter: byte for byte, letter in _letters().items()}

        def by_letters(word: str) -> bytes:
            if all(letter in bytes_of for letter in word):
                return bytes(bytes_of[letter] for letter in word)
            return word.encode()

        return by_letters
    marks = [str(part["replacement"]) for part in decoder if part["type"] == "Metaspace"]
    marks += [
        str(part["pattern"].get("String"))
        for part in decoder
        if part["type"] == "Replace" and part["content"] == " "
    ]
    if not marks:
        raise _refusal("its tokens do not say which bytes they stand for")

    def by_marks(word: str) -> bytes:
        if "ByteFallback" in kinds and re.fullmatch(r"<0x[0-9A-F]{2}>", word):
            return bytes([int(word[3:5], 16)])
        return word.replace(marks[0], " ").encode()

    return by_marks


def _byte_words(bare: Tokenizer) -> Sequence[int] | Sequence[str] | None:
    """For each byte its token's id, or the letter that a byte-level tokenizer merges; or None."""
    if any(part["type"] == "ByteLevel" for part in _decoder(bare)):
        return [letter for _, letter in sorted(_letters().items())]
    ids = [bare.token_to_id(f"<0x{byte:02X}>") for byte in range(256)]
    found = [index for index in ids if index is not None]
    return found if len(found) == len(ids) else None


def _decoder(bare: Tokenizer) -> list[dict[str, Any]]:
    """What turns tokens into text, as JSON; a sequence taken apart."""
    if bare.decoder is None:
        return []
    told = json.loads(bare.decoder.__getstate__())
    return told["decoders"] if told["type"] == "Sequence" else [told]


def _refusal(why: str) -> InputError:
    return InputError("compose.tokenizer", f"a tokenizer cannot be read by bytes: {why}", why=why)
