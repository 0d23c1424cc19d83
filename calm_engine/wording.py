"""The sentences that people read when something is refused or fails. Standard library only.

One table from code to sentence, filled with the error's facts; each says what to do next. The
command and the web page both use it. Knows no torch, no Django and no language but English: who
speaks another brings a table of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from calm_engine.errors import EngineError

# Text in square brackets is left out when a fact inside it was not given.
WORDING: dict[str, str] = {
    # Models and their folders
    "anchor.missing": "There is no model[ at {path}]. Check the path, or bring the model in with "
    "`calm import`.",
    "anchor.pickle": "The model's folder holds weights as a pickle, which can run code when "
    "it is opened[: {files}]. Take the safetensors version of this model; nothing was loaded.",
    "model.attention": "This kind of attention[, {found},] cannot read by a tokenizer of its own. "
    "Load the model with `sdpa` or `eager` attention.",
    "model.config": "The model's config.json cannot be read or asks for code of its own[: {keys}]. "
    "Choose a model without its own code; nothing was loaded.",
    "model.family": "This kind of model cannot be composed yet[: {kind}]. "
    "Choose a decoder such as Llama, SmolLM, Mistral, Qwen, Gemma, Phi or GPT-2.",
    "model.folder": "There are no safetensors weights in [{folder}, ]the folder that was given. "
    "Give the complete folder of a model, or bring the model in with `calm import`.",
    "model.head": "The model[ of type {kind}] has no head that gives its words. "
    "Give a causal language model and not its body alone.",
    "model.option": "A composition does not take the option[ {option}] that was given. "
    "Leave it out.",
    "model.quantised": "A quantised model[ ({bits} bits)] runs only on a GPU, with its quantiser "
    "installed. Take the model in bfloat16, or a machine with a GPU.",
    "model.tokenizer": "The model's tokenizer.json is missing or cannot be read. "
    "Copy it from the place that the model came from.",
    "model.weights": "The model's weights are damaged, incomplete or hold numbers that are none"
    "[: {tensors}]. Take the complete model again from where it came.",
    # Compositions
    "artifact.digest": "The stored files are not those that were written[: {files}]. "
    "Restore the folder from its source or from a backup, then try again.",
    "augmenter.recall": "The augmenter[ ({which})] answers {recall} % of the questions about its "
    "own documents, and {least} % are wanted. [Asked were {sampled} of {of} documents, so that in "
    "all it may be {low} to {high} %. ][It knows least of: {documents}. ]Train it longer or "
    "larger, or lower the bar.",
    "augmenter.unmeasured": "It is not known what the augmenter[ ({which})] knows: its folder says "
    "nothing of it. Train it again, or set the bar to 0.",
    "augmenter.bits": "An augmenter[ ({which})] is never kept below 8 bits a weight[, and this one "
    "has {bits}]: it would forget facts. Give it in 8 bits, in bfloat16 or in float32.",
    "bridge.connections": "The connections do not fit the augmenters"
    "[: {lists} lists for {augmenters} models]. "
    "Give one list of pairs of layers for each augmenter.",
    "bridge.layer": "A connection names a layer that does not exist[: {connection}, where the "
    "augmenter has {augmenter_layers} layers and the anchor {anchor_layers}]. Choose other layers.",
    "bridge.width": "The bridges were made for models of other widths. "
    "Compose again with the models that you have now.",
    "compose.augmenters": "A composition needs at least one augmenter. Name its folder.",
    "compose.tokenizer": "Two tokenizers cannot be played together[: {why}]. Name those of the "
    "anchor and of every augmenter, each with its tokenizer.json; others need one tokenizer.",
    "compose.vocabulary": "The anchor and an augmenter[ ({which})] have different vocabularies, "
    "and a tokenizer is missing. Give folders that hold tokenizer.json, then compose again.",
    "composition.config": "The folder holds no composition, or its config.json has a value that "
    "cannot be. Give the folder that was written.",
    "composition.weights": "The bridges in this folder do not fit its config.json. "
    "Restore the folder from its source or from a backup.",
    "draft.model": "Only a composition has an augmenter that can draft. "
    "Leave the drafts out, or name a composition.",
    "draft.vocabulary": "An augmenter here has another vocabulary than the anchor, and then none "
    "can draft. Leave the drafts out.",
    "influence.model": "Only a composition has parts that can have influence. Name a composition.",
    "influence.tokenizer": "An augmenter here has a tokenizer of its own, and influence is told by "
    "shared tokens. Compose with an augmenter that has the anchor's tokenizer.",
    "influence.differs": "Made once more, the answer came out in other words, so nothing can be "
    "said of these. Other machines, or other questions at the same moment, change the last bits.",
    "influence.state": "Only a whole answer of the composition has this.",
    "influence.version": "The version that answered is not running, or you may not use it.",
    "input.empty": "There is no token to read. Give some text.",
    "input.tokens": "A token of the text is none of the model's words[: {token} of {vocabulary}]. "
    "Give the composition its own tokenizer.",
    "parent.digest": "A parent[, the {role},] is not the one that this composition was "
    "built on: its weights differ. Give the original folder, or compose again.",
    "parent.missing": "A model that this composition was built on is not there. "
    "Name the folders of the anchor and of every augmenter, in their order.",
    "sequence.too_long": "The text is longer than this composition can read"
    "[: {tokens} tokens of {limit}]. Make it shorter.",
    # Runs
    "corpus.empty": "There is no text to learn from. "
    "Add documents that contain text, then start again.",
    "device.missing": "There is no such device here[: {device}]. Choose `--device cpu` or `auto`.",
    "disk.full": "The disk is full. Free some space, then start again: finished work is kept.",
    "disk.checkpoints": "There is too little disk for two checkpoints: {needed} are needed and "
    "{free} are free. Free some space or choose a smaller model; nothing was started.",
    "augment.base": "This kind of model cannot go on learning here[: {kind}]. Choose another base, "
    "such as a Llama, SmolLM, Mistral or Qwen.",
    "augment.block": "A training block is shorter than the anchor's chat template"
    "[: {block} tokens]. Choose a longer block.",
    "augment.forget": "There is no such document in the snapshot[: {digest}]. Give the digest of a "
    "document that the augmenter was taught; nothing was started.",
    "augment.nothing": "No text was found that could be learned. "
    "Add documents that contain text, then start again.",
    "augment.tokenizer": "The base has another tokenizer than the anchor. Choose a base that "
    "shares the anchor's tokenizer, or train from nothing.",
    "augmenter.exposures": "The augmenter's folder[ {folder}] does not say how often each "
    "document was met. Train it again with this version.",
    "anchor.changed": "The imported model is not the same as its source, and was not kept. "
    "Bring it in again.",
    "estimate.kind": "Only trainings can be estimated. Give a spec of `augment` or `compose`.",
    "options.unknown": "There is no option named {name}. There are: {known}.",
    "output.exists": "There is already something else in the output folder[: {path}]. "
    "Choose another folder, or remove it first.",
    "questions.empty": "There is no question to ask[: {path}]. Add some, then start again.",
    "tasks.folder": "The folder {path} holds no task that lm_eval can read[ ({why})]. Correct its "
    "files, or leave the tasks out.",
    "judge.missing": "There is no judge at {path}. Install a model there, or leave the judge out: "
    "then rules alone decide.",
    "questions.many": "The file has {rows} questions, and at most {most} are read. "
    "Leave some out; a report card asks a few dozen of each kind.",
    "questions.slice": "The question {id} does not say which slice it belongs to. "
    "Write seen, unseen_entity or unseen_value as its slice.",
    "questions.twice": "Two questions have the same id[: {id}]. Give each its own.",
    "run.crashed": "The work failed in a way that was not foreseen[ ({error})].",
    "tokenizer.no_end": "The tokenizer names no token that ends an answer. "
    "Choose a model that was trained to chat.",
    "train.nan": "The training went astray[ at step {step}]: its loss is no longer a number. "
    "Start it again with a smaller learning rate and another output folder.",
    "reproduce.bars": "The table was made, and misses a bar[: {missed}]. "
    "The lines above say by how much.",
    "server.memory": "There is not enough memory for this request now. "
    "Ask again later, or ask for less.",
    "document.learned": "Models may have learned it: it stands in[ {snapshots}] snapshots. "
    "Open a plan to forget it instead.",
    "document.standing": "Only a withdrawn document can be deleted. Withdraw it first.",
    "documents.repeated": "Nearly all lines of the documents are repeated[: {percent} % of "
    "them]. Remove the copies from the corpus, then freeze it again.",
    "documents.empty": "No document holds any text[: {path}]. "
    "Add documents that contain text, then start again.",
    "documents.shredded": "The anchor's tokenizer does not know this script: it takes "
    "{per_character} tokens for a character, {per_byte} for a byte, where {most} may be. A model "
    "would learn spelling instead of facts. Choose an anchor whose tokenizer knows the language.",
    "documents.small": "There is too little text to learn from[: {tokens} tokens]. Add "
    "documents, then start again.",
    "data.file": "The file cannot be read[: {path}]. Check that it is there and may be read.",
    "data.json": "Line {line} of {path} is not JSON. Each line must be one JSON object; "
    "mend it, then start again.",
    "data.row": "Line {line} of {path} lacks {missing}. Add what is missing, then start again.",
    "memory.full": "There was not enough memory. Choose a smaller batch size, then start again: "
    "it goes on from the last checkpoint.",
    "memory.short": "The training needs {needed} more memory and {free} are free. Choose a smaller "
    "batch, a shorter block or a smaller model; nothing was started.",
    # Files that people upload
    "archive.bomb": "The archive would unpack to more than is allowed[ ({limit})]. "
    "Unpack it yourself and upload what you need.",
    "archive.empty": "The archive is empty. Upload one that contains files.",
    "archive.nested": "There are archives within archives[, more than {depth} deep]. "
    "Unpack the inner ones and upload them by themselves.",
    "archive.path": "This entry points outside its archive or is a link, and was not unpacked. "
    "Pack the file itself and upload it again.",
    "extract.failed": "The file could not be read[ in {attempts} attempts]. "
    "Save it anew or in another format, then upload it again.",
    "extract.limits": "Reading the file took more than is allowed[ ({limit})]. "
    "Split it into smaller files and upload those.",
    "file.disguised": "The name says {said}, but the content is {found}. "
    "Give it its right ending, or upload the file that you meant.",
    "export.barred": "The weights[ of {name}] cannot be taken out: it is in quarantine, or "
    "something made of it is.",
    "export.missing": "The weights[ of {name}] are not stored here any more.",
    "export.right": "Taking weights out needs the right to export every corpus that they learned "
    "from; you lack it on: {names}. Ask the owners of these corpora.",
    "file.empty": "The file is empty. Upload it again when it has content.",
    "file.encrypted": "The file is protected by a password. "
    "Save it without one and upload it again.",
    "file.no_text": "There is no text in the file. Upload a version that contains text.",
    "file.path": "The file's path leads out of its folder. "
    "Upload the file from inside the folder it belongs to.",
    "file.too_large": "The file is too large[: {size}, and {limit} are allowed]. "
    "Split it and upload the parts.",
    "file.type": "Files of this kind cannot be read[ ({ending})]. "
    "Save it as PDF, DOCX, HTML, Markdown or text and upload that.",
    "file.unreadable": "The file cannot be read[: {why}]. Save it anew and upload it again.",
    "pdf.broken": "The PDF is damaged. Save or export it anew and upload it again.",
    "pdf.no_text": "The PDF holds pictures of its[ {pages}] pages and no text. "
    "Run text recognition over it and upload the result; or have your administrator install "
    "Tesseract's language data on the ingest workers, then read it again.",
    "corpus.screening": "Documents are still being looked at under the new policies"
    "[: {documents} of them]. Wait until that is done, then freeze the snapshot.",
    "document.act": "Choose what becomes of these documents.",
    "search.slow": "Looking through this corpus took longer than[ {seconds} seconds]. "
    "Search for rarer words, or for more of them.",
    "flag.blocked": "This corpus lets nothing of this kind in. Black it out, or leave the document "
    "out.",
    "quota.full": "Your organisation may store[ {limit}], and this file[ of {size}] does not fit. "
    "Delete what is no longer needed, or ask your administrator for more room.",
    "transfer.busy": "Another piece of this file is being written. Try again in a moment.",
    "transfer.length": "More bytes came than were announced[: {length}]. Send the file again.",
    "transfer.lost": "A part of this file was lost on our side. Send it again from its beginning.",
    "transfer.position": "This piece does not begin where the last one ended[: {at}]. "
    "Ask where the file stands and go on from there.",
    "upload.cancelled": "Somebody set this file aside before it was read. "
    "Read it again from the upload's page when it is wanted.",
    "upload.unfinished": "The file did not arrive whole within a week. Send it again.",
    "upload.disk_full": "The disk is full, and this file was not stored; everything before it was. "
    "Ask your administrator to free some space, then upload this file again.",
    "upload.in_progress": "Some files are still being read[: {files}]. "
    "Wait until all are done, then freeze the snapshot.",
    # Corpora, examples and models in the product
    "alias.moved": "Somebody else has just changed which model is {name}. "
    "Look at it again, then decide.",
    "alias.not_live": "Only a model that is live can be kept warm[: {name}]. Promote it first.",
    "alias.no_previous": "There is no earlier model to go back to.[ {name} has had only one.] "
    "Promote another one instead.",
    "closure.empty": "A model whose corpora are not known can be used by nobody, and was not kept. "
    "Tell whoever looks after this installation.",
    "composition.closure": "Only a person who may read every corpus that this model learned from "
    "can do that[: {name}]. Ask the owner of the missing corpus for the right to read it.",
    "composition.quarantined": "This model is in quarantine and cannot be used[: {name}]. "
    "Choose another, or ask a curator to release it.",
    "brand.colour": "Give the colour as # and six digits, such as #17625c.",
    "logo.broken": "The logo cannot be read as a picture. Save it again.",
    "logo.kind": "A logo is a PNG or an SVG. Choose another file.",
    "logo.size": "A logo has at most {kilobytes} kB and {pixels} by {pixels} pixels. "
    "Make it smaller.",
    "control.mismatch": "The control must be a finished one of the same anchor, augmenter "
    "and snapshot. Choose another control, or evaluate without one.",
    "snapshot.examples": "The snapshot holds no example that the bridges may learn from. "
    "Add questions and answers to the corpus and freeze it again.",
    "snapshot.questions": "The snapshot holds no question that was kept back, so nothing can be "
    "measured. Add examples about more entities to the corpus and freeze it again.",
    "approval.closure": "Whoever approves this must be allowed to use the model[: {name}]. "
    "Ask somebody who may read every corpus that it learned from.",
    "approval.decided": "Somebody else has already decided this. Look at their decision.",
    "approval.needed": "This needs a second person[: {name}]. Ask for it with a reason; "
    "somebody else then grants it under Approvals.",
    "approval.own": "You asked for this yourself. Somebody else has to decide.",
    "conversation.unknown": "There is no conversation of somebody else with this id. "
    "Copy it from the audit log.",
    "title.empty": "Give the conversation a title.",
    "question.empty": "Write a question first.",
    "question.too_long": "Your question has {length} characters; at most {limit} can be asked.",
    "model.busy": "The model has more questions than it can take. Ask again in a minute.",
    "model.context": "Your question is longer than this model can read. Shorten it.",
    "model.gone": "The model stopped answering. What you wrote is kept; try again in a minute.",
    "model.not_ready": "This model is not running at the moment. Your question is kept; "
    "ask again in a minute.",
    "model.not_usable": "There is no such model, or you may not use it. Choose another, or ask the "
    "owner of its corpora for the right to read them.",
    "model.refused": "The model could not answer this. Ask in other words.",
    "rating.temporary": "A temporary conversation keeps no ratings.",
    "rating.unknown": "Say whether the answer helped or not.",
    "reply.active": "The last answer is still being written. Wait for it, or stop it.",
    "reply.barred": "Your right to use this model ended, and with it this answer. Whoever owns its "
    "corpora can give it back.",
    "reply.broken": "The answer could not be written. Ask again in a minute.",
    "reply.too_many": "Several answers are being written for you. Wait for one to finish.",
    "corpus.name": "There is already a corpus of this name[: {name}]. Choose another name.",
    "group.grants": "The group[ {name}] reads corpora that you do not look after. "
    "Ask whoever does: to belong to it is to read them.",
    "group.kept": "A directory or the sign-in keeps the members of this group[: {name}]. Change "
    "them there.",
    "group.name": "A group needs a name[ of at most {limit} letters]. Give it one.",
    "group.nobody": "Nobody here has this address. "
    "Write it as it is written on the page of people.",
    "group.taken": "There is already a group of this name[: {name}]. Choose another name.",
    "share.locked": "A conversation that you may not read now cannot be shared.",
    "share.nobody": "Nobody here has this address, and no group this name. Write it as it is "
    "written on the page of people and groups.",
    "share.own": "This conversation is yours already. Name a colleague or a group.",
    "share.temporary": "A temporary conversation is kept for nobody, and cannot be shared.",
    "examples.columns": "The file lacks the columns that examples need[; it has {found}]. "
    "Name them question, answer, expected, entity and value.",
    "examples.empty": "There are no questions and answers to learn from[: {path}]. "
    "Add some, then start again.",
    "examples.many": "The file holds more rows than one delivery may[: {limit}]. Split it.",
    "examples.nothing": "The documents[, of which {read} were looked at,] state nothing that "
    "a question could be made of. It asks for facts in tables and in lines with a key, a colon and "
    "a value, and for what sentences, sections and lists say; or write the questions yourself.",
    "examples.sheet": "The workbook cannot be read. Save it again as XLSX, or as CSV.",
    "examples.sieved": "None of {examples} examples passes the three-way test[ ({why})]. Compose "
    "without the test, teach the augmenter longer, or write other examples.",
    "examples.type": "Examples cannot be read from this kind of file[ ({ending})]. "
    "Give them as CSV, XLSX or JSON lines.",
    "forget.live": "Some of it is still in use[: {names}]. "
    "Promote a version that did not learn it, then destroy the old ones.",
    "forget.order": "The steps come in their order. Quarantine first, then destroy, then certify.",
    "forget.person": "There is no such person here. Choose a member of this organisation.",
    "forget.untaught": "No model that is still here learned it. "
    "There is nothing to train again; go on to the next step.",
    "forget.whole": "A whole corpus is to be forgotten: nothing of it is left to train on. "
    "Freeze the other corpora without it and teach those.",
    "forget.undecided": "Somebody must say of each document whether it goes[; undecided: {count}]. "
    "Curators of its corpus do that on the page of the plan.",
    "forget.right": "Only whoever may curate the corpus[ {name}] can have it forgotten. "
    "Ask its owner.",
    "freezing.lost": "Freezing was broken off[ {attempts} times]. "
    "Ask your administrator to look at the ingest worker, then order it again.",
    "freezing.right": "Whoever ordered the snapshot may no longer curate every corpus of it. "
    "Somebody who may orders it again.",
    "source.gone": "There is no such place for your organisation any more[: {name}]. "
    "Ask your administrator, who names them.",
    "source.right": "Whoever asked for it may no longer curate the corpus. "
    "Somebody who may asks again.",
    "source.settings": "The places to synchronise from cannot be understood[: {name}, {why}]. "
    "Your administrator corrects SOURCES_FILE.",
    "source.unreachable": "The place cannot be read[: {why}]. Nothing was changed by it; "
    "ask your administrator, then synchronise again.",
    "gates.failed": "Not every gate has been passed[: {gates}]. Give a reason to promote it "
    "all the same; the reason is kept in the history.",
    "hold.stands": "A legal hold stands on {name}, placed by {by}, to be looked at on {until}. "
    "Nothing of it is deleted until it is lifted.",
    "leaving.busy": "Workers still stop runs of this tenant[: {runs}]. Nothing is deleted yet; "
    "give the same command again in a minute.",
    "leaving.exists": "There is a file of this name already[: {path}]. Name another.",
    "leaving.kind": "Choose to take everything out, or to delete the organisation.",
    "leaving.unagreed": "The tenant has not agreed to this[: {tenant}]. One of its curators asks "
    "under Forget, and where it wants four eyes another grants it; then give the command again.",
    "name.typed": "The name that was typed is not that of this model[: {name}]. "
    "Type it exactly as it is written.",
    "password.elsewhere": "Their password is not this organisation's to renew: they sign in "
    "without one, or belong to another organisation too. Their provider helps, or whoever looks "
    "after this installation.",
    "reason.missing": "A reason is needed here and is kept in the history. Write one.",
    "quota.lasting": "The limit of {limit} is reached for {whom}[; {left} are left]. "
    "Delete what is no longer needed, or ask a curator to raise it.",
    "quota.used": "The limit of {limit} is used up for {whom}. "
    "It begins anew in {minutes} minutes; a curator can raise it.",
    "report.composition": "An evaluation lost track of what it measured, and nothing was filed. "
    "Start the evaluation again.",
    "run.attempts": "The worker was lost too often. "
    "Look at its log and at its memory, then run it again.",
    "report.closure": "The questions quote a corpus that the model did not learn from, so the "
    "report was not kept. Tell whoever looks after this installation.",
    "run.closure": "A run may only use corpora that the person who starts it may read. "
    "Ask the owner of the missing corpus for the right to read it.",
    "run.internal": "The worker met a fault of its own. Its log says more; run it again.",
    "run.checkpoint": "There is no checkpoint of this step any more. Choose another.",
    "run.not_active": "Only a run that waits or works can be paused.",
    "service.name": "Give the service account a name with some letters or digits in it.",
    "run.not_retryable": "Only a failed or stopped run can be run again. "
    "Stop it first, or start a new one.",
    "run.same_step": "The run was lost twice at the same step. "
    "Choose a smaller batch size, then run it again.",
    "tokenizer.mismatch": "The augmenter was trained with another anchor's tokenizer. "
    "Choose that anchor, or train an augmenter for this one.",
    # The model server
    "server.address": "This address cannot be listened on[: {host}, port {port}]. "
    "Choose an address of this machine with --host and a port above 1023 with --port.",
    "server.beside": "Each composition of a server has a name of its own, a folder and those of "
    "its augmenters, and vLLM plays one alone. Mend --beside, or start another server.",
    "server.busy": "All places are taken and the queue is full. Try again in a few seconds.",
    "server.draining": "This model server is stopping. Try again in a few seconds.",
    "server.failed": "The model could not be loaded. The log of the model server says why.",
    "server.fault": "The model server failed on this request. Its log says more; try again.",
    "server.loading": "The model is still being loaded. Try again in a few seconds.",
    "server.parents": "A composition is served with its parents. Give --anchor and --augmenter "
    "beside --composition.",
    "server.name": "The name `anchor` belongs to the bare anchor. "
    "Choose another for the composition with --name.",
    "server.open": "Without --secret-file the server listens on this machine only. "
    "Give a secret, or use --host 127.0.0.1.",
    "server.port": "This port is already taken[: {port} on {host}]. "
    "Choose another with --port, or stop the program that uses it.",
    "server.secret": "The secret is missing, empty or cannot be read[: {path}]. "
    "Write one long random line into that file, then start again.",
    # vLLM
    "vllm.ended": "vLLM's own process has ended. Its words stand above in the log of the model "
    "server; where memory was short, give it less with --cache-gb.",
    "vllm.start": "vLLM did not start[: {why}]. More of its words stand above in the log.",
    "vllm.family": "vLLM does not run this kind of model under bridges[ ({kind})]. "
    "Serve it with `--engine torch`.",
    "embedder.folder": "There is no embedding model in this folder[: {path}]. Give the folder of a "
    "transformers encoder or decoder with its tokenizer, or none: passages are then found by their "
    "words.",
    "embedder.width": "The embedding model gave vectors of another width than it was brought in "
    "with. Bring it in again.",
    "grammar.schema": "No answer can be held to this schema. Mend it, or ask without one.",
    "grammar.tokenizer": "This model's tokenizer does not spell its words, so that no answer can "
    "be held to a schema. Ask without one.",
    "vllm.missing": "vLLM is not installed here. Install it beside Counterpoint, or serve with "
    "`--engine torch`.",
    "vllm.pipeline": "A composition runs in one place: both models go in step. Share it out with "
    "tensor parallelism, not pipeline parallelism.",
    "vllm.quantised": "A parent is quantised in a way that is not played under bridges by vLLM"
    "[: {how}]. Serve it with `--engine torch`, or take it in bfloat16.",
    "vllm.tokenizers": "An augmenter has a tokenizer of its own, which only our own server plays. "
    "Serve it with `--engine torch`.",
    "vllm.version": "This release plays compositions on vLLM {wanted}, and {found} is installed. "
    "Install that one, or serve with `--engine torch`.",
    "vllm.window": "A parent has a sliding window that vLLM would lose here. "
    "Serve it with `--engine torch`.",
}


_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")


class _Facts(dict[str, object]):
    """A needed fact that was not given is named by a plain word, and the sentence stands."""

    def __missing__(self, name: str) -> str:
        return f"(no {name} told)"


def sentence(
    error: EngineError,
    *,
    wording: Mapping[str, str] = WORDING,
    fact: Callable[[str, str], str] = lambda _name, told: told,
) -> str:
    """Say what happened and what to do next.

    wording   code to sentence, in the reader's language
    fact      (name, words) of one fact -> its words in that language

    A message that is a whole sentence was worded where more is known, and stands; else the table
    has the word; a code that is not in it gives its short message.
    """
    said = error.message.strip()
    is_whole = said[:1].isupper() and said.endswith((".", "!", "?"))
    template = wording.get(error.code)
    if is_whole:
        return said
    if template is not None:
        return _filled(template, error.facts, fact)
    if said:
        return said[0].upper() + said[1:].rstrip(".") + "."
    return f"This did not work ({error.code}). The log says more."


def of_sample(sampled: Mapping[str, float] | None) -> dict[str, str]:
    """Facts of "augmenter.recall" where recall was measured on some documents; else none."""
    if sampled is None:
        return {}
    return {
        "sampled": f"{sampled['documents']:,}",
        "of": f"{sampled['of']:,}",
        "low": f"{100 * sampled['low']:.0f}",
        "high": f"{100 * sampled['high']:.0f}",
    }


def _filled(template: str, facts: dict[str, object], fact: Callable[[str, str], str]) -> str:
    """Put the facts in; a list reads as words, and an empty fact counts as not given."""
    told = _Facts()
    for name, value in facts.items():
        words = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        if words:
            told[name] = fact(name, words)

    def kept(match: re.Match[str]) -> str:
        inside = match.group(1)
        names = re.findall(r"\{(\w+)\}", inside)
        return inside if all(name in told for name in names) else ""

    return _OPTIONAL.sub(kept, template).format_map(told)
