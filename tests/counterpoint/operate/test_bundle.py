"""A release as one signed file: it comes out as it went in, or not at all."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from counterpoint.operate.cli import main
from tests.deploy.helm import ROOT


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    assert main(["bundle-key", "--to", str(tmp_path / "keys")]) == 0
    return tmp_path / "keys"


@pytest.fixture
def packed(tmp_path: Path, keys: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    (images / "web.oci").write_bytes(b"an image")
    words = ["--key", str(keys / "bundle.key"), "--with", f"images={images}"]
    assert main(["bundle", "--to", str(tmp_path / "all.tar"), *words]) == 0
    return tmp_path / "all.tar"


def install(packed: Path, trust: Path, to: Path) -> int:
    words = ["--from", str(packed), "--trust", str(trust), "--to", str(to)]
    return main(["install", *words])


def test_what_went_in_comes_out(packed: Path, keys: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    assert install(packed, keys / "bundle.pub", there) == 0
    assert (there / "images" / "web.oci").read_bytes() == b"an image"
    chart = "deploy/helm/counterpoint/values.yaml"
    assert (there / "release" / chart).read_bytes() == (ROOT / chart).read_bytes()
    assert (there / "release" / "deploy" / "images" / "images.txt").exists()
    assert (keys / "bundle.key").stat().st_mode & 0o077 == 0


def changed(packed: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The same archive after somebody was at it."""
    with tarfile.open(packed) as archive:
        members = [(m, archive.extractfile(m).read()) for m in archive]  # type: ignore[union-attr]
    change(members)
    other = packed.with_name("other.tar")
    with tarfile.open(other, "w") as archive:
        for entry, content in members:
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return other


def swap_byte(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    entry, content = members[-1]
    members[-1] = (entry, bytes([content[0] ^ 1]) + content[1:])


def drop_last(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.pop()


def add_one(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.append((tarfile.TarInfo("release/extra.sh"), b"rm"))


def climb_out(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[-1][0].name = "../../outside"


def edit_list(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    entry, content = members[0]
    members[0] = (entry, content.replace(b'"size": ', b'"size":  ', 1))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (swap_byte, "bundle.damaged"),
        (drop_last, "bundle.damaged"),
        (add_one, "bundle.damaged"),
        (climb_out, "bundle.damaged"),
        (edit_list, "bundle.signature"),
    ],
)
def test_what_was_changed_is_refused_and_leaves_nothing(
    packed: Path,
    keys: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None],
    code: str,
) -> None:
    other = changed(packed, change)
    assert install(other, keys / "bundle.pub", tmp_path / "there") == 2
    assert code in capsys.readouterr().err
    assert not (tmp_path / "there").exists()
    assert not (tmp_path / "outside").exists()
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".there")] == []


def test_another_signer_is_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bundle-key", "--to", str(tmp_path / "stranger")]) == 0
    assert install(packed, tmp_path / "stranger" / "bundle.pub", tmp_path / "there") == 2
    assert "bundle.signature" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no key", b"\xff\xfe", b"x" * 5000])
def test_a_file_that_is_no_bundle_is_refused(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "none.tar").write_bytes(content)
    assert install(tmp_path / "none.tar", keys / "bundle.pub", tmp_path / "there") == 2
    assert "bundle.damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--with", "images"], "bundle.folder"),
        (["--with", "images=/nowhere"], "bundle.folder"),
        (["--with", "release=/tmp"], "bundle.folder"),
    ],
)
def test_a_wrong_folder_is_refused(
    keys: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: str
) -> None:
    call = ["bundle", "--to", str(tmp_path / "x.tar"), "--key", str(keys / "bundle.key"), *words]
    assert main(call) == 2
    assert code in capsys.readouterr().err


def test_keys_and_bundles_are_never_replaced(
    packed: Path, keys: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (keys / "bundle.key").read_bytes()
    assert main(["bundle-key", "--to", str(keys)]) == 2
    assert "bundle.key_exists" in capsys.readouterr().err
    assert (keys / "bundle.key").read_bytes() == before
    assert main(["bundle", "--to", str(packed), "--key", str(keys / "bundle.key")]) == 2
    assert "bundle.exists" in capsys.readouterr().err
    assert main(["bundle", "--to", f"{packed}2", "--key", str(packed)]) == 2
    assert "bundle.key" in capsys.readouterr().err
