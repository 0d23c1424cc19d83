"""A stream of known length that is sought in by moving a number; how it is read is its own."""

from __future__ import annotations

import io


class Seekable(io.RawIOBase):
    """Give it `size`, the length in bytes; `_at` is where the next byte is read."""

    size: int
    _at: int = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = max(0, base + offset)
        return self._at
