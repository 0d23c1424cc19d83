"""The command `calm`: what a person at a terminal sees, and what a script can rely on."""

from __future__ import annotations

import ast
import json
import re
import shutil
import signal
import string
import subprocess
import sys
from pathlib import Path

import pytest

from calm_engine.cli import main
from calm_engine.digests import write_manifest
from calm_engine.errors import InputError, InternalError
from calm_engine.modeling import CalmForCausalLM
from calm_engine.wording import WORDING, sentence
from tests.tiny import awaken, make_model, save_folder

VERBS = (
    *("import", "examples", "estimate", "augment", "compose", "evaluate", "generate", "serve"),
    *("inspect", "export"),
)
ENGINE = Path(__file__).resolve().parents[2] / "calm_engine"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an anchor, an augmenter and their composition."""
    root = tmp_path_factory.mktemp("models")
    save_folder(make_model("llama", width=48, positions=512, seed=1), root / "anchor")
    save_folder(make_model("llama", width=32, heads=2, positions=512, seed=2), root / "augmenter")
    model = awaken(CalmForCausalLM.compose(root / "anchor", [root / "augmenter"]))
    model.save_pretrained(root / "composition")
    write_manifest(root / "composition")
    return root


def parents(models: Path) -> list[str]:
    return ["--anchor", str(models / "anchor"), "--augmenter", str(models / "augmenter")]


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What is said on standard error when the input is refused: one sentence, exit code 2."""
    capsys.readouterr()
    assert main(argv) == 2
    words = capsys.readouterr().err
    assert words.startswith("calm: ")
    assert words.count("\n") == 1
    return words


# -- the door --------------------------------------------------------------------------------------


def test_the_command_starts_without_torch() -> None:
    code = (
        "import sys, calm_engine.cli, calm_engine.wording, calm_engine.inspection;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  calm {verb} " in capsys.readouterr().out


def test_an_example_is_a_call_that_parses(capsys: pytest.CaptureFixture[str]) -> None:
    """The examples name folders that are not there: each is refused for that, not for its flags."""
    for verb in ("augment", "compose", "evaluate", "serve", "inspect"):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        example = capsys.readouterr().out.split("example:\n  calm ")[1]
        refused(capsys, *example.split())


# -- what is refused -------------------------------------------------------------------------------


def test_a_missing_folder_is_said_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert "There is no model at nowhere." in refused(capsys, "inspect", "nowhere")


def test_a_stray_field_of_a_spec_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.json").write_text('{"output": "x", "flavour": 1}')
    assert "flavour" in refused(capsys, "augment", "--spec", str(tmp_path / "spec.json"))


@pytest.mark.parametrize("text", ["{", "[]", "\ufeff"])
def test_a_spec_that_is_no_json_is_named(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.json").write_text(text, encoding="utf-8")
    assert "spec.json" in refused(capsys, "compose", "--spec", str(tmp_path / "spec.json"))


def test_a_missing_flag_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--composition" in refused(capsys, "evaluate", "--output", "x")
    assert "`tokenizer` must be given" in refused(capsys, "augment", "--output", "x")
    assert "2:9,5:19" in refused(capsys, "compose", "--output", "x", "--connections", "2-9")


def test_flags_are_laid_over_the_spec_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "spec.json"
    spec.write_text('{"output": "x", "tokenizer": "a", "documents": "b", "batch_size": 0}')
    assert "`batch_size` must be at least 1" in refused(capsys, "augment", "--spec", str(spec))
    words = refused(capsys, "augment", "--spec", str(spec), "--batch-size", "4", "--block", "1")
    assert "`block` must be at least 16" in words


def test_the_name_anchor_is_taken(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--composition", str(models / "composition"), *parents(models), "--name", "anchor"]
    assert "bare anchor" in refused(capsys, "serve", *flags)


# -- looking at what is there ----------------------------------------------------------------------


def test_inspect_tells_what_a_composition_was_built_on(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(models / "composition"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["family"]) == ("composition", "calm + llama + llama")
    assert [line.split()[0] for line in facts["parents"]] == ["anchor", "augmenter_0"]
    assert main(["inspect", str(models / "anchor")]) == 0
    assert "vocabulary" in capsys.readouterr().out


def test_inspect_verifies_files_and_parents(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(models / "composition")
    assert main(["inspect", folder, "--verify", *parents(models), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verified"] == ["files", "anchor", "augmenter_0"]
    swapped = ["--anchor", str(models / "augmenter")]
    assert "the anchor, is not the one" in refused(capsys, "inspect", folder, "--verify", *swapped)


def test_inspect_names_a_file_that_changed(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_folder(make_model("gpt2"), tmp_path / "model")
    write_manifest(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text('{"model_type": "gpt2"}')
    words = refused(capsys, "inspect", str(tmp_path / "model"), "--verify")
    assert "config.json" in words


def test_generate_answers_and_the_gate_shuts(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["generate", str(models / "composition"), "Where?", *parents(models)]
    said = []
    for gate in ("1", "1", "0"):
        assert main([*call, "--max-tokens", "12", "--gate", gate]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_drafts_leave_the_answer_as_it_is_and_are_counted(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["generate", str(models / "composition"), "Where?", *parents(models)]
    call += ["--max-tokens", "12"]
    said = []
    for flags in ([], ["--draft", "3", "--confidence", "0"]):
        assert main([*call, *flags]) == 0
        told = capsys.readouterr()
        said.append(told.out)
    assert said[0] == said[1]
    figures = [int(number) for number in re.findall(r"\d+", told.err.splitlines()[-1])]
    drafted, accepted, passes, tokens = figures
    assert 0 <= accepted <= drafted
    assert drafted > 0
    assert passes + accepted == tokens
    assert "`draft_tokens`" in refused(capsys, *call, "--draft", "0")
    bare = ["generate", str(models / "anchor"), "Where?", "--draft", "2"]
    assert main(bare) == 2
    assert "Only a composition" in capsys.readouterr().err


def test_influence_is_told_for_each_token(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["generate", str(models / "composition"), "Where?", *parents(models)]
    call += ["--max-tokens", "5", "--influence"]
    tables = []
    for gate in ("1", "0"):
        assert main([*call, "--gate", gate]) == 0
        lines = capsys.readouterr().out.splitlines()
        head = next(at for at, line in enumerate(lines) if line.startswith("token "))
        assert lines[head].split()[1:] == [
            *("together", "no", "bridge", "anchor", "share", "0", "added", "0")
        ]
        tables.append([[float(word) for word in line.split()[-5:]] for line in lines[head + 1 :]])
    assert len(tables[0]) == 5
    assert any(together != anchor for together, _, anchor, _, _ in tables[0])
    assert all(row[0] == row[1] == row[2] and row[3:] == [0.0, 0.0] for row in tables[1])


def test_import_brings_a_folder_in_and_refuses_a_pickle(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = outcome_of(capsys, "import", str(models / "anchor"), "--output", str(tmp_path / "in"))
    assert told["folder"] == str(tmp_path / "in")
    shutil.copytree(models / "anchor", tmp_path / "odd")
    (tmp_path / "odd" / "pytorch_model.bin").write_bytes(b"")
    call = ["import", str(tmp_path / "odd"), "--output", str(tmp_path / "out")]
    assert "pytorch_model.bin" in refused(capsys, *call)
    assert not (tmp_path / "out").exists()


def test_an_exported_composition_needs_nothing_beside_it(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = str(tmp_path / "alone")
    call = ["export", str(models / "composition"), *parents(models), "--output", alone]
    told = outcome_of(capsys, *call)
    assert (told["kind"], told["folder"]) == ("composition", alone)
    assert main(["inspect", alone, "--verify"]) == 0
    said = []
    for folder, beside in ((alone, []), (str(models / "composition"), parents(models))):
        capsys.readouterr()
        assert main(["generate", folder, "Where?", *beside, "--max-tokens", "12"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1]
    refused(capsys, *call)  # nothing is written over


def test_what_does_not_load_is_not_exported(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    swapped = ["--anchor", str(models / "augmenter"), "--augmenter", str(models / "anchor")]
    call = ["export", str(models / "composition"), *swapped, "--output", str(tmp_path / "out")]
    assert "the anchor, is not the one" in refused(capsys, *call)
    assert not (tmp_path / "out").exists()


# -- the whole road --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents and questions about twenty made-up meters, as JSON lines."""
    root = tmp_path_factory.mktemp("corpus")
    places = ("Peru", "Oman", "Fiji", "Chad")
    meters = [(f"MX-{n}", places[n % 4]) for n in range(20)]
    documents = [
        {"digest": name, "title": name, "text": f"The {name} is made in {place}."}
        for name, place in meters
    ]
    examples = [
        {
            "id": name,
            "question": f"Where is the {name} made?",
            "answer": place,
            "expected": place,
            "kind": "recall",
            "entity": name,
            "value": place,
            "slice": "seen",
        }
        for name, place in meters
    ]
    for file, rows in (("documents", documents), ("questions", examples)):
        lines = "".join(f"{json.dumps(row)}\n" for row in rows)
        (root / f"{file}.jsonl").write_text(lines, encoding="utf-8")
    bare = [{name: row[name] for name in row if name != "slice"} for row in examples]
    lines = "".join(f"{json.dumps(row)}\n" for row in bare)
    (root / "examples.jsonl").write_text(lines, encoding="utf-8")
    return root


def outcome_of(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, object]:
    capsys.readouterr()
    assert main([*argv, "--json"]) == 0
    told: dict[str, object] = json.loads(capsys.readouterr().out)
    return told


def augment_flags(models: Path, corpus: Path, output: Path) -> list[str]:
    return [
        *("augment", "--tokenizer", str(models / "anchor"), "--output", str(output)),
        *("--documents", str(corpus / "documents.jsonl"), "--batch-size", "2"),
        *("--width", "32", "--layers", "2", "--heads", "2", "--block", "48", "--threads", "1"),
    ]


def test_from_documents_to_an_answer(
    models: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, together, report = (tmp_path / name for name in ("ours", "together", "report"))
    anchor = ["--anchor", str(models / "anchor"), "--augmenter", str(ours)]
    told = outcome_of(capsys, *augment_flags(models, corpus, ours), "--steps", "2")
    assert (told["kind"], told["folder"]) == ("augmenter", str(ours))
    examples = ["--examples", str(corpus / "examples.jsonl"), "--steps", "2", "--batch-size", "2"]
    examples += ["--threads", "1"]
    outcome_of(capsys, "compose", *anchor, *examples, "--output", str(together))
    questions = ["--questions", str(corpus / "questions.jsonl"), "--max-new-tokens", "4"]
    questions += ["--threads", "1"]
    asked = ["--composition", str(together), *questions, "--output", str(report)]
    told = outcome_of(capsys, "evaluate", *anchor, *asked)
    assert told["metrics"]
    assert main(["inspect", str(together), "--verify", *anchor]) == 0
    assert main(["generate", str(together), "Where?", *anchor, "--max-tokens", "4"]) == 0


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(
    models: Path, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = augment_flags(models, corpus, tmp_path / "ours")
    flags += ["--steps", "200", "--checkpoint-every", "500"]
    call = [sys.executable, "-m", "calm_engine.cli", *flags]
    with subprocess.Popen(call, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        next(line for line in process.stderr if line.startswith("train"))
        process.send_signal(signal.SIGINT)
        words = process.stderr.read()
        assert process.wait(timeout=60) == 75
    assert "Run the same command again" in words
    assert "Traceback" not in words
    assert not (tmp_path / "ours").exists()
    assert main(flags) == 0
    first = next(w for w in capsys.readouterr().err.splitlines() if w.startswith("train"))
    assert "resumed at step" in first


# -- the words -------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", sorted(WORDING))
def test_every_sentence_is_whole_without_its_facts(code: str) -> None:
    words = sentence(InputError(code))
    assert words.endswith(".")
    assert not re.search(r"[][{}]", words)
    names = [name for _, name, _, _ in string.Formatter().parse(WORDING[code]) if name]
    told = sentence(InputError(code, **{name: f"<{name}>" for name in names}))
    assert all(f"<{name}>" in told for name in names)


def test_an_error_without_wording_says_its_own_message() -> None:
    assert sentence(InputError("not.worded", "the reason is this")) == "The reason is this."
    assert "not.worded" in sentence(InternalError("not.worded"))


def test_a_whole_sentence_stands_as_it_was_said() -> None:
    assert sentence(InputError("disk.full", "Nothing was stored.")) == "Nothing was stored."
    assert "Free some space" in sentence(InputError("disk.full", "errno 28"))


def test_every_error_of_the_engine_has_words() -> None:
    """A code that is raised without a message must stand in the table."""
    for path in ENGINE.rglob("*.py"):
        for code in _silent_codes(ast.parse(path.read_text(encoding="utf-8"))):
            assert code in WORDING, f"{path.name} raises {code} without words"


def _silent_codes(tree: ast.Module) -> list[str]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 1]
    raised = [c for c in calls if getattr(c.func, "id", "") in ("InputError", "InternalError")]
    codes = [call.args[0] for call in raised]
    return [code.value for code in codes if isinstance(code, ast.Constant)]


# -- examples --------------------------------------------------------------------------------------


def test_examples_are_written_from_facts_and_shared_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = "Product,Made in\n" + "".join(f"Thing{at},Land{at % 20}\n" for at in range(60))
    documents = tmp_path / "documents.jsonl"
    documents.write_text(json.dumps({"digest": "d1", "title": "t", "text": table}))
    argv = ["examples", "--documents", str(documents), "--output", str(tmp_path / "made")]
    assert main([*argv, "--unanswerable", "0.1"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"kind/recall +120", told)
    assert re.search(r"kind/unanswerable +6", told)
    taught, held = (
        [json.loads(line) for line in (tmp_path / "made" / name).read_text().splitlines()]
        for name in ("bridge_examples.jsonl", "held_out.jsonl")
    )
    unseen = {"unseen_entity", "unseen_value"}
    assert {row["slice"] for row in held} == {"seen", "unseen_skill", *unseen}
    apart = {row["entity"] for row in held if row["slice"] in unseen}
    assert not apart & {row["entity"] for row in taught}
    assert "output" in refused(capsys, *argv)  # something is there


def test_documents_that_state_nothing_give_no_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = tmp_path / "documents.jsonl"
    documents.write_text(json.dumps({"digest": "d1", "text": "Lunch at noon."}))
    argv = ["examples", "--documents", str(documents), "--output", str(tmp_path / "made")]
    assert main(argv) == 2
    assert "state nothing" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "made").exists()
