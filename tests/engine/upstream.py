"""transformers' own tests of models, out of the source distribution of the installed version.

Downloaded once into var/, which git ignores; nothing of it is committed. It is importable under one
name in the process that asks for it.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import tarfile
import unittest.mock
from pathlib import Path
from types import ModuleType

import transformers

ROOT = Path(__file__).resolve().parents[2]
HELD = ROOT / "var" / "upstream" / transformers.__version__
PACKAGE = "transformers_tests"

# What the modules import and the source distribution leaves out: only the files directly in tests/
# are packed. The mixins are stood in for by empty ones, the config's usual values by none.
ABSENT: dict[str, tuple[str, object]] = {
    "exporters.test_export": ("ExportTesterMixin", type("ExportTesterMixin", (), {})),
    "generation.test_utils": ("GenerationTesterMixin", type("GenerationTesterMixin", (), {})),
    "utils.test_configuration_utils": ("config_common_kwargs", {}),
}


def tests_folder() -> Path:
    """The unpacked folder `tests`; fetched through pip the first time."""
    folder = HELD / f"transformers-{transformers.__version__}" / "tests"
    if not folder.is_dir():
        HELD.mkdir(parents=True, exist_ok=True)
        _download()
        archive = next(HELD.glob("transformers-*.tar.gz"))
        with tarfile.open(archive) as packed:
            packed.extractall(HELD, filter="data")
    return folder


def _download() -> None:
    """The source distribution as it is, not built."""
    wanted = f"transformers=={transformers.__version__}"
    how = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--quiet"]
    call = [sys.executable, "-m", "pip", "download", wanted, *how, "--dest", str(HELD)]
    subprocess.run(call, check=True)


def common_tests() -> ModuleType:
    """The module `test_modeling_common`."""
    _package(PACKAGE, tests_folder())
    for name, (held, value) in ABSENT.items():
        _package(f"{PACKAGE}.{name.split('.')[0]}", None)
        stand_in = ModuleType(f"{PACKAGE}.{name}")
        setattr(stand_in, held, value)
        sys.modules[stand_in.__name__] = stand_in
    return upstream("test_modeling_common")


def upstream(module: str) -> ModuleType:
    """One of the modules in `tests`, once `common_tests` has made them known."""
    # One of them reads transformers' sources beside it; here it gets what is installed.
    found = "transformers.utils.direct_transformers_import"
    with unittest.mock.patch(found, return_value=transformers):
        return importlib.import_module(f"{PACKAGE}.{module}")


def _package(name: str, folder: Path | None) -> None:
    package = ModuleType(name)
    package.__path__ = [] if folder is None else [str(folder)]
    sys.modules[name] = package
