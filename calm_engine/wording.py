"""The sentences that people read when something is refused or fails. Standard library only.

One table from code to sentence, filled with the error's facts; each says what to do next. The
command and the web page both use it. Knows no torch, no Django and no language but English.
"""

from __future__ import annotations

from calm_engine.errors import EngineError

WORDING: dict[str, str] = {
    # Models and their folders
    "anchor.missing": "There is no model at {path}. Check the path, or bring the model in with "
    "`calm import`.",
    "anchor.pickle": "The model folder {folder} holds weights as a pickle, which can run code when "
    "it is opened: {files}. Take the safetensors version of this model; nothing was loaded.",
    "model.config": "The model's config.json cannot be read or asks for code of its own {keys}. "
    "Choose a model without its own code; nothing was loaded.",
    "model.family": "This kind of model cannot be composed yet. "
    "Choose a decoder such as Llama, SmolLM2, Mistral, Qwen or GPT-2.",
    "model.folder": "There are no safetensors weights in {folder}. "
    "Give the complete folder of a model, or bring the model in with `calm import`.",
    "model.tokenizer": "The model's tokenizer.json is missing or cannot be read. "
    "Copy it from the place that the model came from.",
    # Compositions
    "artifact.digest": "The stored files are not those that were written: {files}. "
    "Restore the folder from its source or from a backup, then try again.",
    "bridge.connections": "The connections do not fit the augmenters: {lists} lists for "
    "{augmenters} models. Give one list of pairs for each augmenter.",
    "bridge.layer": "The connection {connection} names a layer that does not exist: the augmenter "
    "has {augmenter_layers} layers and the anchor {anchor_layers}. Choose layers within these.",
    "bridge.width": "The bridges were made for models of other widths. "
    "Compose again with the models that you have now.",
    "compose.augmenters": "A composition needs at least one augmenter. Name its folder.",
    "compose.vocabulary": "The anchor and {which} read text with different tokenizers. "
    "Train the augmenter with this anchor's tokenizer, then compose again.",
    "composition.weights": "The bridges in this folder do not fit its config.json. "
    "Restore the folder from its source or from a backup.",
    "parent.digest": "The {role} is not the one that this composition was built on: its weights "
    "differ. Give the original folder, or compose again.",
    "parent.missing": "A model that this composition was built on is not there. "
    "Name the folders of the anchor and of every augmenter, in their order.",
    "sequence.too_long": "The text has {tokens} tokens, and this composition takes {limit}. "
    "Make it shorter.",
    # Runs
    "corpus.empty": "There is no text to learn from. "
    "Add documents that contain text, then start again.",
    "device.missing": "There is no {device} device here. Choose `--device cpu` or `auto`.",
    "disk.full": "The disk is full. Free some space, then start again: finished work is kept.",
    "run.cancelled": "The run was asked to stop, and stopped. "
    "Start it again with the same settings to continue from its last checkpoint.",
    "server.memory": "There is not enough memory for this request now. "
    "Ask again later, or ask for less.",
    # The model server
    "server.address": "{host}, port {port}, cannot be listened on. "
    "Choose an address of this machine with --host and a port above 1023 with --port.",
    "server.busy": "All places are taken and the queue is full. Try again in a few seconds.",
    "server.draining": "This model server is stopping. Try again in a few seconds.",
    "server.failed": "The model could not be loaded. The log of the model server says why.",
    "server.fault": "The model server failed on this request. Its log says more; try again.",
    "server.loading": "The model is still being loaded. Try again in a few seconds.",
    "server.name": "The name `anchor` belongs to the bare anchor. "
    "Choose another for the composition with --name.",
    "server.open": "Without --secret-file the server listens on this machine only. "
    "Give a secret, or use --host 127.0.0.1.",
    "server.port": "Port {port} on {host} is already taken. "
    "Choose another with --port, or stop the program that uses it.",
    "server.secret": "The secret in {path} is missing, empty or cannot be read. "
    "Write one long random line into that file, then start again.",
}


class _Facts(dict[str, object]):
    """A fact that was not given is named by a plain word instead of failing the sentence."""

    def __missing__(self, name: str) -> str:
        return f"(no {name} told)"


def sentence(error: EngineError) -> str:
    """Say what happened and what to do next; a code without wording gives its own message."""
    template = WORDING.get(error.code)
    if template is not None:
        return template.format_map(_Facts(error.facts))
    if error.message:
        said = error.message[0].upper() + error.message[1:]
        return said if said.endswith((".", "!", "?")) else f"{said}."
    return f"This did not work ({error.code}). The log of this run says more."
