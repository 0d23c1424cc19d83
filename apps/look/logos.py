"""A logo made harmless: of a PNG the picture's own chunks, of an SVG shapes and plain attributes.

What is not on a list is left out: scripts, styles, links, fonts, texts about the file. Knows no
tenant and no storage.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

from lxml import etree

from calm_engine.errors import InputError

MOST_BYTES = 256 * 1024
MOST_PIXELS = 1024  # a side
PNG = b"\x89PNG\r\n\x1a\n"
CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"}
SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {
    *("svg", "g", "defs", "title", "path", "rect", "circle", "ellipse", "line", "polyline"),
    *("polygon", "linearGradient", "radialGradient", "stop", "clipPath", "mask"),
}
ATTRIBUTES = {
    *("viewBox", "width", "height", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx", "ry"),
    *("d", "points", "transform", "id", "fill", "fill-rule", "fill-opacity", "stroke", "opacity"),
    *("stroke-width", "stroke-linecap", "stroke-linejoin", "stroke-dasharray", "stroke-opacity"),
    *("stroke-miterlimit", "clip-path", "clip-rule", "mask", "offset", "stop-color", "fx", "fy"),
    *("stop-opacity", "gradientUnits", "gradientTransform", "spreadMethod", "preserveAspectRatio"),
    *("clipPathUnits", "maskUnits", "maskContentUnits"),
}
PLAIN = re.compile(r"[\w#%.,:()\s+-]*\Z", re.ASCII)
ADDRESS = re.compile(r"url\s*\(", re.IGNORECASE)
INSIDE = re.compile(r"url\(#[\w.-]+\)\Z", re.ASCII)


def cleaned(raw: bytes) -> tuple[bytes, str]:
    """The harmless picture and its media type.

    Raises InputError: "logo.size" (bytes or pixels), "logo.kind", "logo.broken".
    """
    if len(raw) > MOST_BYTES:
        raise _too_large()
    if raw.startswith(PNG):
        return _png(raw), "image/png"
    if b"<svg" in raw[:4096]:
        return _svg(raw), "image/svg+xml"
    raise InputError("logo.kind")


def _png(raw: bytes) -> bytes:
    kept = [(kind, body) for kind, body in _chunks(raw) if kind in CHUNKS]
    kinds = [kind for kind, _body in kept]
    if not kept or kinds[0] != b"IHDR" or kinds[-1] != b"IEND" or b"IDAT" not in kinds:
        raise _broken()
    if len(kept[0][1]) != 13:
        raise _broken()
    width, height = struct.unpack(">II", kept[0][1][:8])
    if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):
        raise _too_large()
    return PNG + b"".join(_chunk(kind, body) for kind, body in kept)


def _chunks(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG)
    while at + 12 <= len(raw):
        (length,) = struct.unpack(">I", raw[at : at + 4])
        kind, body = raw[at + 4 : at + 8], raw[at + 8 : at + 8 + length]
        told = raw[at + 8 + length : at + 12 + length]
        if len(body) != length or told != struct.pack(">I", zlib.crc32(kind + body)):
            raise _broken()
        yield kind, body
        at += 12 + length
        if kind == b"IEND":
            return


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _svg(raw: bytes) -> bytes:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_pis=True
    )
    try:
        root = etree.fromstring(raw, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise _broken() from error
    if root.getroottree().docinfo.doctype or root.tag != f"{SVG}svg":
        raise _broken()
    clean = _copied(root)
    if not len(clean):
        raise _broken()
    return etree.tostring(clean, encoding="utf-8")  # type: ignore[no-any-return]  # untyped library


def _copied(node: etree._Element) -> etree._Element:
    """This element and what is listed below it, built anew."""
    name = str(node.tag).removeprefix(SVG)
    made = etree.Element(f"{SVG}{name}", nsmap={None: SVG[1:-1]})
    for key, value in node.attrib.items():
        if key in ATTRIBUTES and PLAIN.match(value) and _stays_inside(value):
            made.set(key, value)
    if name == "title":
        made.text = node.text
    for child in node:
        tag = child.tag if isinstance(child.tag, str) else ""  # a comment has none
        if tag.startswith(SVG) and tag.removeprefix(SVG) in ELEMENTS:
            made.append(_copied(child))
    return made


def _stays_inside(value: str) -> bool:
    return not ADDRESS.search(value) or bool(INSIDE.match(value.strip()))


def _too_large() -> InputError:
    return InputError("logo.size", kilobytes=MOST_BYTES // 1024, pixels=MOST_PIXELS)


def _broken() -> InputError:
    return InputError("logo.broken")
