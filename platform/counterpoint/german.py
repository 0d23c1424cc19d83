"""The sentences of `calm_engine.wording` in German, by the same codes. A table and nothing else.

The same facts stand in braces, and in square brackets what is left out when one was not given.
"""

from __future__ import annotations

WORDING: dict[str, str] = {
    # Models and their folders
    "anchor.missing": "Es gibt kein Modell[ unter {path}]. Prüfen Sie den Pfad, oder bringen Sie "
    "das Modell mit `calm import` herein.",
    "anchor.pickle": "Der Ordner des Modells enthält Gewichte als Pickle, die beim Öffnen Code "
    "ausführen können[: {files}]. Nehmen Sie die Fassung dieses Modells in safetensors; nichts "
    "wurde geladen.",
    "model.attention": "Diese Art der Attention[, {found},] kann nicht mit einem eigenen Tokenizer "
    "lesen. Laden Sie das Modell mit der Attention `sdpa` oder `eager`.",
    "model.config": "Die config.json des Modells lässt sich nicht lesen oder verlangt eigenen Code"
    "[: {keys}]. Wählen Sie ein Modell ohne eigenen Code; nichts wurde geladen.",
    "model.family": "Modelle dieser Art lassen sich noch nicht komponieren[: {kind}]. Wählen Sie "
    "einen Decoder wie Llama, SmolLM, Mistral, Qwen, Gemma, Phi oder GPT-2.",
    "model.folder": "In [{folder}, ]dem angegebenen Ordner liegen keine Gewichte in safetensors. "
    "Geben Sie den vollständigen Ordner eines Modells an, oder bringen Sie das Modell mit "
    "`calm import` herein.",
    "model.head": "Das Modell[ der Art {kind}] hat keinen Kopf, der seine Wörter gibt. Geben Sie "
    "ein kausales Sprachmodell an und nicht seinen Rumpf allein.",
    "model.option": "Eine Komposition nimmt die angegebene Option[ {option}] nicht an. "
    "Lassen Sie sie weg.",
    "model.quantised": "Ein quantisiertes Modell[ ({bits} Bit)] läuft nur auf einer GPU, auf der "
    "sein Quantisierer installiert ist. Nehmen Sie das Modell in bfloat16 oder eine Maschine mit "
    "GPU.",
    "model.tokenizer": "Die tokenizer.json des Modells fehlt oder lässt sich nicht lesen. Kopieren "
    "Sie sie von dort, woher das Modell kam.",
    "model.weights": "Die Gewichte des Modells sind beschädigt, unvollständig oder enthalten "
    "Zahlen, die keine sind[: {tensors}]. Holen Sie das vollständige Modell noch einmal dort, "
    "woher es kam.",
    # Compositions
    "artifact.digest": "Die gespeicherten Dateien sind nicht die, die geschrieben wurden"
    "[: {files}]. Stellen Sie den Ordner aus seiner Quelle oder einer Sicherung wieder her, und "
    "versuchen Sie es dann noch einmal.",
    "augmenter.recall": "Der Augmenter[ ({which})] beantwortet {recall} % der Fragen zu seinen "
    "eigenen Dokumenten, und {least} % sind verlangt. [Gefragt wurde nach {sampled} von {of} "
    "Dokumenten, über alle können es also {low} bis {high} % sein. ][Am wenigsten weiß er von: "
    "{documents}. ]Trainieren Sie ihn länger oder größer, oder senken Sie die Schwelle.",
    "augmenter.unmeasured": "Was der Augmenter[ ({which})] weiß, ist nicht bekannt: Sein Ordner "
    "sagt nichts darüber. Trainieren Sie ihn noch einmal, oder setzen Sie die Schwelle auf 0.",
    "augmenter.bits": "Ein Augmenter[ ({which})] wird nie mit weniger als 8 Bit je Gewicht "
    "aufbewahrt[, und dieser hat {bits}]: Er vergäße Fakten. Geben Sie ihn in 8 Bit, in bfloat16 "
    "oder in float32 an.",
    "bridge.connections": "Die Verbindungen passen nicht zu den Augmentern"
    "[: {lists} Listen für {augmenters} Modelle]. Geben Sie für jeden Augmenter eine Liste von "
    "Schichtpaaren an.",
    "bridge.layer": "Eine Verbindung nennt eine Schicht, die es nicht gibt[: {connection}, wo der "
    "Augmenter {augmenter_layers} Schichten hat und der Anker {anchor_layers}]. Wählen Sie andere "
    "Schichten.",
    "bridge.width": "Die Brücken wurden für Modelle anderer Breite gemacht. Komponieren Sie noch "
    "einmal mit den Modellen, die Sie jetzt haben.",
    "compose.augmenters": "Eine Komposition braucht mindestens einen Augmenter. Nennen Sie seinen "
    "Ordner.",
    "compose.tokenizer": "Zwei Tokenizer lassen sich nicht zusammen spielen[: {why}]. Nennen Sie "
    "die des Ankers und jedes Augmenters, jeden mit seiner tokenizer.json; andere brauchen "
    "denselben Tokenizer.",
    "compose.vocabulary": "Der Anker und ein Augmenter[ ({which})] haben verschiedene "
    "Wortschätze, und ein Tokenizer fehlt. Geben Sie Ordner mit einer tokenizer.json an, und "
    "komponieren Sie dann noch einmal.",
    "composition.config": "Der Ordner enthält keine Komposition, oder in seiner config.json steht "
    "ein unmöglicher Wert. Geben Sie den Ordner an, der geschrieben wurde.",
    "composition.weights": "Die Brücken in diesem Ordner passen nicht zu seiner config.json. "
    "Stellen Sie den Ordner aus seiner Quelle oder einer Sicherung wieder her.",
    "draft.model": "Nur eine Komposition hat einen Augmenter, der vorschlagen kann. Lassen Sie die "
    "Vorschläge weg, oder nennen Sie eine Komposition.",
    "draft.vocabulary": "Ein Augmenter hat hier einen anderen Wortschatz als der Anker, und dann "
    "kann keiner vorschlagen. Lassen Sie die Vorschläge weg.",
    "influence.model": "Nur eine Komposition hat Teile, die Einfluss haben können. Nennen Sie eine "
    "Komposition.",
    "influence.tokenizer": "Ein Augmenter hat hier einen eigenen Tokenizer, und Einfluss wird an "
    "gemeinsamen Token gezeigt. Komponieren Sie mit einem Augmenter, der den Tokenizer des Ankers "
    "hat.",
    "influence.differs": "Noch einmal gemacht, fiel die Antwort in anderen Worten aus, und von "
    "diesen lässt sich nichts sagen. Andere Maschinen oder andere Fragen im selben Augenblick "
    "ändern die letzten Stellen.",
    "influence.state": "Das gibt es nur für eine vollständige Antwort der Komposition.",
    "influence.version": "Die Version, die geantwortet hat, läuft nicht, oder Sie dürfen sie nicht "
    "nutzen.",
    "input.empty": "Es gibt kein Token zu lesen. Geben Sie etwas Text an.",
    "input.tokens": "Ein Token des Textes ist kein Wort des Modells[: {token} von {vocabulary}]. "
    "Geben Sie der Komposition ihren eigenen Tokenizer.",
    "parent.digest": "Ein Modell[, der {role},] ist nicht das, auf dem diese Komposition gebaut "
    "wurde: Seine Gewichte sind andere. Geben Sie den ursprünglichen Ordner an, oder komponieren "
    "Sie noch einmal.",
    "parent.missing": "Ein Modell, auf dem diese Komposition gebaut wurde, ist nicht da. Nennen "
    "Sie die Ordner des Ankers und jedes Augmenters in ihrer Reihenfolge.",
    "sequence.too_long": "Der Text ist länger, als diese Komposition lesen kann"
    "[: {tokens} von {limit} Token]. Kürzen Sie ihn.",
    # Runs
    "corpus.empty": "Es gibt keinen Text, aus dem zu lernen wäre. Fügen Sie Dokumente mit Text "
    "hinzu, und beginnen Sie dann noch einmal.",
    "device.missing": "Ein solches Gerät gibt es hier nicht[: {device}]. Wählen Sie `--device cpu` "
    "oder `auto`.",
    "disk.full": "Die Platte ist voll. Schaffen Sie Platz, und beginnen Sie dann noch einmal: Was "
    "fertig ist, bleibt.",
    "disk.checkpoints": "Für zwei Checkpoints ist zu wenig Platz: {needed} werden gebraucht, und "
    "{free} sind frei. Schaffen Sie Platz, oder wählen Sie ein kleineres Modell; nichts wurde "
    "begonnen.",
    "augment.base": "Modelle dieser Art können hier nicht weiterlernen[: {kind}]. Wählen Sie eine "
    "andere Grundlage, etwa ein Llama, SmolLM, Mistral oder Qwen.",
    "augment.block": "Ein Block des Trainings ist kürzer als die Chatvorlage des Ankers"
    "[: {block} Token]. Wählen Sie einen längeren Block.",
    "augment.forget": "Ein solches Dokument gibt es im Snapshot nicht[: {digest}]. Geben Sie die "
    "Prüfsumme eines Dokuments an, das der Augmenter gelernt hat; nichts wurde begonnen.",
    "augment.nothing": "Es wurde kein Text gefunden, der sich lernen ließe. Fügen Sie Dokumente "
    "mit Text hinzu, und beginnen Sie dann noch einmal.",
    "augment.tokenizer": "Die Grundlage hat einen anderen Tokenizer als der Anker. Wählen Sie "
    "eine mit dem Tokenizer des Ankers, oder trainieren Sie von Grund auf.",
    "augmenter.exposures": "Der Ordner[ {folder}] des Augmenters sagt nicht, wie oft ihm jedes "
    "Dokument begegnet ist. Trainieren Sie ihn mit dieser Version noch einmal.",
    "anchor.changed": "Das hereingebrachte Modell ist nicht dasselbe wie seine Quelle und wurde "
    "nicht behalten. Bringen Sie es noch einmal herein.",
    "estimate.kind": "Nur Trainings lassen sich schätzen. Geben Sie eine Spezifikation von "
    "`augment` oder `compose` an.",
    "options.unknown": "Eine Option {name} gibt es nicht. Es gibt: {known}.",
    "output.exists": "Im Ausgabeordner liegt schon etwas anderes[: {path}]. Wählen Sie einen "
    "anderen Ordner, oder entfernen Sie es vorher.",
    "questions.empty": "Es gibt keine Frage, die zu stellen wäre[: {path}]. Fügen Sie welche "
    "hinzu, und beginnen Sie dann noch einmal.",
    "tasks.folder": "Der Ordner {path} enthält keine Aufgabe, die lm_eval lesen kann[ ({why})]. "
    "Berichtigen Sie seine Dateien, oder lassen Sie die Aufgaben weg.",
    "judge.missing": "Unter {path} gibt es kein urteilendes Modell. Legen Sie dort eines ab, oder "
    "lassen Sie es weg: Dann entscheiden Regeln allein.",
    "questions.many": "Die Datei hat {rows} Fragen, und höchstens {most} werden gelesen. Lassen "
    "Sie einige weg; ein Zeugnis stellt von jeder Art ein paar Dutzend.",
    "questions.slice": "Die Frage {id} sagt nicht, zu welchem Teil sie gehört. Schreiben Sie als "
    "slice seen, unseen_entity oder unseen_value.",
    "questions.twice": "Zwei Fragen haben dieselbe Kennung[: {id}]. Geben Sie jeder eine eigene.",
    "run.crashed": "Die Arbeit ist auf eine Weise gescheitert, die nicht vorgesehen war"
    "[ ({error})].",
    "tokenizer.no_end": "Der Tokenizer nennt kein Token, das eine Antwort beendet. Wählen Sie ein "
    "Modell, das für Gespräche trainiert wurde.",
    "train.nan": "Das Training ist entgleist[ bei Schritt {step}]: Sein Verlust ist keine Zahl "
    "mehr. Beginnen Sie es mit einer kleineren Lernrate und einem anderen Ausgabeordner neu.",
    "reproduce.bars": "Die Tabelle ist da und verfehlt eine Schwelle[: {missed}]. Die Zeilen "
    "darüber sagen, um wie viel.",
    "server.memory": "Für diese Anfrage ist gerade nicht genug Speicher da. Fragen Sie später noch "
    "einmal, oder verlangen Sie weniger.",
    "document.learned": "Modelle können es gelernt haben: Es steht in[ {snapshots}] Snapshots. "
    "Eröffnen Sie stattdessen einen Plan, es zu vergessen.",
    "document.standing": "Nur ein zurückgezogenes Dokument lässt sich löschen. Ziehen Sie es "
    "zuerst zurück.",
    "documents.repeated": "Fast alle Zeilen der Dokumente wiederholen sich[: {percent} % davon]. "
    "Entfernen Sie die Kopien aus dem Korpus, und frieren Sie ihn dann neu ein.",
    "documents.empty": "Kein Dokument enthält Text[: {path}]. Fügen Sie Dokumente mit Text hinzu, "
    "und beginnen Sie dann noch einmal.",
    "documents.shredded": "Der Tokenizer des Ankers kennt diese Schrift nicht: Er braucht "
    "{per_character} Token für ein Zeichen, {per_byte} für ein Byte, und {most} dürfen es sein. "
    "Ein Modell lernte Rechtschreibung statt Fakten. Wählen Sie einen Anker, dessen Tokenizer die "
    "Sprache kennt.",
    "documents.small": "Es gibt zu wenig Text zum Lernen[: {tokens} Token]. Fügen Sie Dokumente "
    "hinzu, und beginnen Sie dann noch einmal.",
    "data.file": "Die Datei lässt sich nicht lesen[: {path}]. Prüfen Sie, ob sie da ist und "
    "gelesen werden darf.",
    "data.json": "Zeile {line} von {path} ist kein JSON. Jede Zeile muss ein JSON-Objekt sein; "
    "berichtigen Sie sie, und beginnen Sie dann noch einmal.",
    "data.row": "In Zeile {line} von {path} fehlt {missing}. Ergänzen Sie, was fehlt, und beginnen "
    "Sie dann noch einmal.",
    "memory.full": "Der Arbeitsspeicher reichte nicht. Wählen Sie eine kleinere Batchgröße, und "
    "beginnen Sie dann noch einmal: Es geht beim letzten Checkpoint weiter.",
    "memory.short": "Das Training braucht {needed} Arbeitsspeicher mehr, und {free} sind frei. "
    "Wählen Sie einen kleineren Batch, einen kürzeren Block oder ein kleineres Modell; nichts "
    "wurde begonnen.",
    # Files that people upload
    "archive.bomb": "Das Archiv entpackte sich zu mehr, als erlaubt ist[ ({limit})]. Entpacken Sie "
    "es selbst, und laden Sie hoch, was Sie brauchen.",
    "archive.empty": "Das Archiv ist leer. Laden Sie eines hoch, das Dateien enthält.",
    "archive.nested": "Hier stecken Archive in Archiven[, mehr als {depth} tief]. Entpacken Sie "
    "die inneren, und laden Sie sie einzeln hoch.",
    "archive.path": "Dieser Eintrag zeigt aus seinem Archiv hinaus oder ist eine Verknüpfung und "
    "wurde nicht entpackt. Packen Sie die Datei selbst ein, und laden Sie sie noch einmal hoch.",
    "extract.failed": "Die Datei ließ sich nicht lesen[, in {attempts} Versuchen]. Speichern Sie "
    "sie neu oder in einem anderen Format, und laden Sie sie dann noch einmal hoch.",
    "extract.limits": "Das Lesen der Datei brauchte mehr, als erlaubt ist[ ({limit})]. Teilen Sie "
    "sie in kleinere Dateien, und laden Sie diese hoch.",
    "file.disguised": "Der Name sagt {said}, der Inhalt ist aber {found}. Geben Sie der Datei ihre "
    "richtige Endung, oder laden Sie die Datei hoch, die Sie meinten.",
    "export.barred": "Die Gewichte[ von {name}] lassen sich nicht herausgeben: Das Modell ist in "
    "Quarantäne, oder etwas, das daraus gemacht wurde.",
    "export.missing": "Die Gewichte[ von {name}] sind hier nicht mehr gespeichert.",
    "export.right": "Gewichte herauszugeben braucht das Recht, jeden Korpus auszuführen, von dem "
    "sie gelernt haben; es fehlt Ihnen an: {names}. Fragen Sie, wem diese Korpora gehören.",
    "file.empty": "Die Datei ist leer. Laden Sie sie noch einmal hoch, wenn sie Inhalt hat.",
    "file.encrypted": "Die Datei ist mit einem Passwort geschützt. Speichern Sie sie ohne, und "
    "laden Sie sie noch einmal hoch.",
    "file.no_text": "In der Datei steht kein Text. Laden Sie eine Fassung hoch, die Text enthält.",
    "file.path": "Der Pfad der Datei führt aus ihrem Ordner hinaus. Laden Sie die Datei aus dem "
    "Ordner hoch, zu dem sie gehört.",
    "file.too_large": "Die Datei ist zu groß[: {size}, und {limit} sind erlaubt]. Teilen Sie sie, "
    "und laden Sie die Teile hoch.",
    "file.type": "Dateien dieser Art lassen sich nicht lesen[ ({ending})]. Speichern Sie sie als "
    "PDF, DOCX, HTML, Markdown oder Text, und laden Sie das hoch.",
    "file.unreadable": "Die Datei lässt sich nicht lesen[: {why}]. Speichern Sie sie neu, und "
    "laden Sie sie noch einmal hoch.",
    "pdf.broken": "Das PDF ist beschädigt. Speichern oder exportieren Sie es neu, und laden Sie es "
    "noch einmal hoch.",
    "pdf.no_text": "Das PDF enthält Bilder seiner[ {pages}] Seiten und keinen Text. Lassen Sie "
    "eine Texterkennung darüber laufen, und laden Sie das Ergebnis hoch; oder bitten Sie Ihre "
    "Administration, die Sprachdaten von Tesseract auf den Workern zu installieren, die Dateien "
    "lesen, und lassen Sie es dann noch einmal lesen.",
    "corpus.screening": "Dokumente werden noch unter den neuen Regeln angesehen"
    "[: {documents} davon]. Warten Sie, bis das getan ist, und frieren Sie dann den Snapshot ein.",
    "document.act": "Wählen Sie, was aus diesen Dokumenten wird.",
    "search.slow": "Diesen Korpus zu durchsuchen dauerte länger als[ {seconds} Sekunden]. Suchen "
    "Sie nach selteneren Wörtern oder nach mehr davon.",
    "flag.blocked": "Dieser Korpus lässt nichts dieser Art hinein. Schwärzen Sie es, oder lassen "
    "Sie das Dokument weg.",
    "quota.full": "Ihre Organisation darf[ {limit}] speichern, und diese Datei[ von {size}] passt "
    "nicht mehr hinein. Löschen Sie, was nicht mehr gebraucht wird, oder bitten Sie Ihre "
    "Administration um mehr Platz.",
    "transfer.busy": "Gerade wird ein anderes Stück dieser Datei geschrieben. Versuchen Sie es "
    "gleich noch einmal.",
    "transfer.length": "Es kamen mehr Bytes als angekündigt[: {length}]. Senden Sie die Datei noch "
    "einmal.",
    "transfer.lost": "Ein Teil dieser Datei ging bei uns verloren. Senden Sie sie noch einmal von "
    "Anfang an.",
    "transfer.position": "Dieses Stück beginnt nicht, wo das vorige endete[: {at}]. Fragen Sie, wo "
    "die Datei steht, und machen Sie dort weiter.",
    "upload.cancelled": "Jemand hat diese Datei beiseitegelegt, bevor sie gelesen wurde. Lassen "
    "Sie sie auf der Seite der Lieferung noch einmal lesen, wenn sie gebraucht wird.",
    "upload.unfinished": "Die Datei kam binnen einer Woche nicht vollständig an. Senden Sie sie "
    "noch einmal.",
    "upload.disk_full": "Die Platte ist voll, und diese Datei wurde nicht gespeichert; alles davor "
    "schon. Bitten Sie Ihre Administration, Platz zu schaffen, und laden Sie diese Datei dann noch "
    "einmal hoch.",
    "upload.in_progress": "Einige Dateien werden noch gelesen[: {files}]. Warten Sie, bis alle "
    "fertig sind, und frieren Sie dann den Snapshot ein.",
    # Corpora, examples and models in the product
    "alias.moved": "Jemand anderes hat gerade geändert, welches Modell {name} ist. Sehen Sie noch "
    "einmal nach, und entscheiden Sie dann.",
    "alias.not_live": "Nur ein Modell, das live ist, lässt sich bereithalten[: {name}]. Schalten "
    "Sie es zuerst live.",
    "alias.no_previous": "Es gibt kein früheres Modell, zu dem es zurückginge.[ {name} hatte nur "
    "eines.] Schalten Sie stattdessen ein anderes live.",
    "closure.empty": "Ein Modell, dessen Korpora nicht bekannt sind, darf niemand nutzen, und es "
    "wurde nicht behalten. Sagen Sie es denen, die diese Installation betreuen.",
    "composition.closure": "Das kann nur, wer jeden Korpus lesen darf, von dem dieses Modell "
    "gelernt hat[: {name}]. Bitten Sie darum, wem der fehlende Korpus gehört.",
    "composition.quarantined": "Dieses Modell ist in Quarantäne und kann nicht genutzt werden"
    "[: {name}]. Wählen Sie ein anderes, oder bitten Sie eine Kuratorin oder einen Kurator, es "
    "freizugeben.",
    "brand.colour": "Geben Sie die Farbe als # und sechs Ziffern an, etwa #17625c.",
    "logo.broken": "Das Logo lässt sich nicht als Bild lesen. Speichern Sie es neu.",
    "logo.kind": "Ein Logo ist ein PNG oder ein SVG. Wählen Sie eine andere Datei.",
    "logo.size": "Ein Logo hat höchstens {kilobytes} kB und {pixels} mal {pixels} Pixel. "
    "Verkleinern Sie es.",
    "control.mismatch": "Die Kontrolle muss fertig sein und denselben Anker, Augmenter und "
    "Snapshot haben. Wählen Sie eine andere, oder prüfen Sie ohne.",
    "snapshot.examples": "Der Snapshot enthält kein Beispiel, von dem die Brücken lernen dürfen. "
    "Fügen Sie dem Korpus Fragen und Antworten hinzu, und frieren Sie ihn neu ein.",
    "snapshot.questions": "Der Snapshot enthält keine zurückgehaltene Frage, also lässt sich "
    "nichts messen. Fügen Sie dem Korpus Beispiele zu mehr Gegenständen hinzu, und frieren Sie ihn "
    "neu ein.",
    "approval.closure": "Wer das freigibt, muss das Modell nutzen dürfen[: {name}]. Bitten Sie "
    "jemanden, der jeden Korpus lesen darf, von dem es gelernt hat.",
    "approval.decided": "Jemand anderes hat das schon entschieden. Sehen Sie sich die Entscheidung "
    "an.",
    "approval.needed": "Das braucht eine zweite Person[: {name}]. Bitten Sie mit einem Grund "
    "darum; jemand anderes gewährt es dann unter Freigaben.",
    "approval.own": "Sie haben selbst darum gebeten. Jemand anderes muss entscheiden.",
    "conversation.unknown": "Ein Gespräch anderer mit dieser Kennung gibt es nicht. Kopieren Sie "
    "sie aus dem Protokoll.",
    "title.empty": "Geben Sie dem Gespräch einen Titel.",
    "question.empty": "Schreiben Sie zuerst eine Frage.",
    "question.too_long": "Ihre Frage hat {length} Zeichen; höchstens {limit} lassen sich fragen.",
    "model.busy": "Das Modell hat mehr Fragen, als es annehmen kann. Fragen Sie in einer Minute "
    "noch einmal.",
    "model.context": "Ihre Frage ist länger, als dieses Modell lesen kann. Kürzen Sie sie.",
    "model.gone": "Das Modell hat aufgehört zu antworten. Was Sie geschrieben haben, ist "
    "aufgehoben; versuchen Sie es in einer Minute noch einmal.",
    "model.not_ready": "Dieses Modell läuft gerade nicht. Ihre Frage ist aufgehoben; fragen Sie in "
    "einer Minute noch einmal.",
    "model.not_usable": "Ein solches Modell gibt es nicht, oder Sie dürfen es nicht nutzen. Wählen "
    "Sie ein anderes, oder bitten Sie die, denen seine Korpora gehören, um das Recht, sie zu "
    "lesen.",
    "model.refused": "Das Modell konnte darauf nicht antworten. Fragen Sie mit anderen Worten.",
    "rating.temporary": "Ein flüchtiges Gespräch bewahrt keine Bewertungen auf.",
    "rating.unknown": "Sagen Sie, ob die Antwort geholfen hat oder nicht.",
    "reply.active": "Die letzte Antwort wird noch geschrieben. Warten Sie darauf, oder halten Sie "
    "sie an.",
    "reply.barred": "Ihr Recht, dieses Modell zu nutzen, ist zu Ende und mit ihm diese Antwort. "
    "Wem seine Korpora gehören, kann es zurückgeben.",
    "reply.broken": "Die Antwort ließ sich nicht schreiben. Fragen Sie in einer Minute noch "
    "einmal.",
    "reply.too_many": "Für Sie werden gerade mehrere Antworten geschrieben. Warten Sie, bis eine "
    "fertig ist.",
    "corpus.name": "Einen Korpus dieses Namens gibt es schon[: {name}]. Wählen Sie einen anderen "
    "Namen.",
    "group.grants": "Die Gruppe[ {name}] liest Korpora, die nicht Sie betreuen. Fragen Sie, wer "
    "das tut: Wer zu ihr gehört, liest sie.",
    "group.kept": "Die Mitglieder dieser Gruppe kommen aus einem Verzeichnis oder von der "
    "Anmeldung[: {name}]. Ändern Sie sie dort.",
    "group.name": "Eine Gruppe braucht einen Namen[ von höchstens {limit} Zeichen]. Geben Sie ihr "
    "einen.",
    "group.nobody": "Diese Adresse hat hier niemand. Schreiben Sie sie, wie sie auf der Seite der "
    "Personen steht.",
    "group.taken": "Eine Gruppe dieses Namens gibt es schon[: {name}]. Wählen Sie einen anderen "
    "Namen.",
    "share.locked": "Ein Gespräch, das Sie gerade nicht lesen dürfen, lässt sich nicht teilen.",
    "share.nobody": "Diese Adresse hat hier niemand, und keine Gruppe heißt so. Schreiben Sie sie, "
    "wie sie auf der Seite der Personen und Gruppen steht.",
    "share.own": "Dieses Gespräch gehört Ihnen schon. Nennen Sie eine Kollegin, einen Kollegen "
    "oder eine Gruppe.",
    "share.temporary": "Ein flüchtiges Gespräch wird für niemanden aufbewahrt und lässt sich nicht "
    "teilen.",
    "examples.columns": "In der Datei fehlen die Spalten, die Beispiele brauchen"
    "[; sie hat {found}]. Nennen Sie sie question, answer, expected, entity und value.",
    "examples.empty": "Es gibt keine Fragen und Antworten, aus denen zu lernen wäre[: {path}]. "
    "Fügen Sie welche hinzu, und beginnen Sie dann noch einmal.",
    "examples.many": "Die Datei hat mehr Zeilen, als auf einmal erlaubt sind[: {limit}]. Teilen "
    "Sie sie.",
    "examples.nothing": "Die Dokumente[, von denen {read} angesehen wurden,] sagen nichts, woraus "
    "sich eine Frage machen ließe. Gefragt wird nach Fakten in Tabellen und in Zeilen aus "
    "Schlüssel, Doppelpunkt und Wert sowie danach, was Sätze, Abschnitte und Listen sagen; oder "
    "schreiben Sie die Fragen selbst.",
    "examples.sheet": "Die Arbeitsmappe lässt sich nicht lesen. Speichern Sie sie noch einmal als "
    "XLSX oder als CSV.",
    "examples.sieved": "Keines von {examples} Beispielen besteht die dreifache Probe[ ({why})]. "
    "Komponieren Sie ohne sie, lehren Sie den Augmenter länger, oder schreiben Sie andere "
    "Beispiele.",
    "examples.type": "Aus Dateien dieser Art lassen sich keine Beispiele lesen[ ({ending})]. Geben "
    "Sie sie als CSV, XLSX oder JSON-Zeilen.",
    "forget.live": "Etwas davon ist noch in Gebrauch[: {names}]. Schalten Sie eine Version live, "
    "die es nicht gelernt hat, und vernichten Sie dann die alten.",
    "forget.order": "Die Schritte haben ihre Reihenfolge. Erst in Quarantäne, dann vernichten, "
    "dann bescheinigen.",
    "forget.person": "Eine solche Person gibt es hier nicht. Wählen Sie ein Mitglied dieser "
    "Organisation.",
    "forget.untaught": "Kein Modell, das noch da ist, hat es gelernt. Es gibt nichts neu zu "
    "trainieren; gehen Sie zum nächsten Schritt.",
    "forget.whole": "Ein ganzer Korpus soll vergessen werden: Von ihm bleibt nichts, womit zu "
    "trainieren wäre. Frieren Sie die anderen Korpora ohne ihn ein, und lehren Sie jene.",
    "forget.undecided": "Von jedem Dokument muss jemand sagen, ob es geht[; unentschieden: "
    "{count}]. Das tut auf der Seite des Plans, wer seinen Korpus kuratiert.",
    "forget.right": "Nur wer den Korpus[ {name}] kuratieren darf, kann ihn vergessen lassen. "
    "Fragen Sie, wem er gehört.",
    "freezing.lost": "Das Einfrieren wurde abgebrochen[, {attempts}-mal]. Bitten Sie Ihre "
    "Administration, nach dem Worker zu sehen, der Dateien liest, und ordnen Sie es dann noch "
    "einmal an.",
    "freezing.right": "Wer den Snapshot angeordnet hat, darf nicht mehr jeden Korpus davon "
    "kuratieren. Jemand, der es darf, ordnet ihn noch einmal an.",
    "source.gone": "Einen solchen Ort gibt es für Ihre Organisation nicht mehr[: {name}]. Fragen "
    "Sie Ihre Administration, die sie benennt.",
    "source.right": "Wer darum gebeten hat, darf den Korpus nicht mehr kuratieren. Jemand, der es "
    "darf, bittet noch einmal.",
    "source.settings": "Die Orte, mit denen abgeglichen wird, lassen sich nicht verstehen"
    "[: {name}, {why}]. Ihre Administration berichtigt SOURCES_FILE.",
    "source.unreachable": "Der Ort lässt sich nicht lesen[: {why}]. Nichts wurde dadurch geändert; "
    "fragen Sie Ihre Administration, und gleichen Sie dann noch einmal ab.",
    "gates.failed": "Nicht jede Hürde ist genommen[: {gates}]. Geben Sie einen Grund an, es "
    "trotzdem live zu schalten; der Grund bleibt in der Geschichte.",
    "hold.stands": "Auf {name} liegt eine Aufbewahrungspflicht, von {by}, anzusehen am {until}. "
    "Nichts davon wird gelöscht, bis sie aufgehoben ist.",
    "leaving.busy": "Worker halten noch Läufe dieses Mandanten an[: {runs}]. Noch ist nichts "
    "gelöscht; geben Sie denselben Befehl in einer Minute noch einmal.",
    "leaving.exists": "Eine Datei dieses Namens gibt es schon[: {path}]. Nennen Sie eine andere.",
    "leaving.kind": "Wählen Sie, ob alles herausgegeben oder die Organisation gelöscht wird.",
    "leaving.unagreed": "Der Mandant hat dem nicht zugestimmt[: {tenant}]. Jemand, der dort "
    "kuratiert, bittet unter Vergessen darum, und wo es vier Augen braucht, gewährt es eine zweite "
    "Person; geben Sie den Befehl dann noch einmal.",
    "name.typed": "Der eingetippte Name ist nicht der dieses Modells[: {name}]. Tippen Sie ihn "
    "genau so, wie er dasteht.",
    "password.elsewhere": "Dieses Passwort zu erneuern steht dieser Organisation nicht zu: Die "
    "Person meldet sich ohne eines an oder gehört auch zu einer anderen Organisation. Ihr Anbieter "
    "hilft, oder wer diese Installation betreut.",
    "reason.missing": "Hier wird ein Grund gebraucht und in der Geschichte aufbewahrt. Schreiben "
    "Sie einen.",
    "quota.lasting": "Die Grenze von {limit} ist für {whom} erreicht[; {left} bleiben]. Löschen "
    "Sie, was nicht mehr gebraucht wird, oder bitten Sie eine Kuratorin oder einen Kurator, sie zu "
    "erhöhen.",
    "quota.used": "Die Grenze von {limit} ist für {whom} aufgebraucht. In {minutes} Minuten "
    "beginnt sie von vorn; Kuratorinnen und Kuratoren können sie erhöhen.",
    "report.composition": "Eine Prüfung weiß nicht mehr, was sie gemessen hat, und nichts wurde "
    "abgelegt. Beginnen Sie die Prüfung noch einmal.",
    "run.attempts": "Der Worker ging zu oft verloren. Sehen Sie in sein Protokoll und nach seinem "
    "Speicher, und starten Sie den Lauf dann noch einmal.",
    "report.closure": "Die Fragen zitieren einen Korpus, von dem das Modell nicht gelernt hat, und "
    "das Zeugnis wurde nicht behalten. Sagen Sie es denen, die diese Installation betreuen.",
    "run.closure": "Ein Lauf darf nur Korpora nutzen, die lesen darf, wer ihn startet. Bitten Sie "
    "darum, wem der fehlende Korpus gehört.",
    "run.internal": "Der Worker hatte selbst einen Fehler. Sein Protokoll sagt mehr; starten Sie "
    "den Lauf noch einmal.",
    "run.checkpoint": "Von diesem Schritt gibt es keinen Checkpoint mehr. Wählen Sie einen "
    "anderen.",
    "run.not_active": "Nur ein Lauf, der wartet oder arbeitet, lässt sich unterbrechen.",
    "service.name": "Geben Sie dem Dienstkonto einen Namen mit Buchstaben oder Ziffern darin.",
    "run.not_retryable": "Nur ein gescheiterter oder angehaltener Lauf kann noch einmal starten. "
    "Halten Sie ihn erst an, oder beginnen Sie einen neuen.",
    "run.same_step": "Der Lauf ging zweimal beim selben Schritt verloren. Wählen Sie eine kleinere "
    "Batchgröße, und starten Sie ihn dann noch einmal.",
    "tokenizer.mismatch": "Der Augmenter wurde mit dem Tokenizer eines anderen Ankers trainiert. "
    "Wählen Sie jenen Anker, oder trainieren Sie einen Augmenter für diesen.",
    # The model server
    "server.address": "Auf dieser Adresse lässt sich nicht lauschen[: {host}, Port {port}]. Wählen "
    "Sie mit --host eine Adresse dieser Maschine und mit --port einen Port über 1023.",
    "server.beside": "Jede Komposition eines Servers hat einen eigenen Namen, einen Ordner und die "
    "ihrer Augmenter, und vLLM spielt eine allein. Berichtigen Sie --beside, oder starten Sie "
    "einen weiteren Server.",
    "server.busy": "Alle Plätze sind belegt, und die Warteschlange ist voll. Versuchen Sie es in "
    "einigen Sekunden noch einmal.",
    "server.draining": "Dieser Modellserver hält gerade an. Versuchen Sie es in einigen Sekunden "
    "noch einmal.",
    "server.failed": "Das Modell ließ sich nicht laden. Das Protokoll des Modellservers sagt, "
    "warum.",
    "server.fault": "Der Modellserver ist an dieser Anfrage gescheitert. Sein Protokoll sagt mehr; "
    "versuchen Sie es noch einmal.",
    "server.loading": "Das Modell wird noch geladen. Versuchen Sie es in einigen Sekunden noch "
    "einmal.",
    "server.parents": "Eine Komposition wird mit den Modellen bedient, auf denen sie gebaut ist. "
    "Geben Sie --anchor und --augmenter neben --composition an.",
    "server.name": "Der Name `anchor` gehört dem bloßen Anker. Wählen Sie mit --name einen anderen "
    "für die Komposition.",
    "server.open": "Ohne --secret-file lauscht der Server nur auf dieser Maschine. Geben Sie ein "
    "Geheimnis an, oder nehmen Sie --host 127.0.0.1.",
    "server.port": "Dieser Port ist schon vergeben[: {port} auf {host}]. Wählen Sie mit --port "
    "einen anderen, oder halten Sie das Programm an, das ihn nutzt.",
    "server.secret": "Das Geheimnis fehlt, ist leer oder lässt sich nicht lesen[: {path}]. "
    "Schreiben Sie eine lange zufällige Zeile in diese Datei, und beginnen Sie dann noch einmal.",
    # vLLM
    "vllm.ended": "Der eigene Prozess von vLLM ist zu Ende. Seine Worte stehen weiter oben im "
    "Protokoll des Modellservers; wo der Speicher knapp war, geben Sie ihm mit --cache-gb weniger.",
    "vllm.start": "vLLM ist nicht gestartet[: {why}]. Mehr von seinen Worten steht weiter oben im "
    "Protokoll.",
    "vllm.family": "vLLM lässt Modelle dieser Art nicht unter Brücken laufen[ ({kind})]. Bedienen "
    "Sie sie mit `--engine torch`.",
    "embedder.folder": "In diesem Ordner ist kein Embedding-Modell[: {path}]. Geben Sie den Ordner "
    "eines Encoders oder Decoders von transformers mit seinem Tokenizer an, oder keinen: Stellen "
    "werden dann an ihren Wörtern gefunden.",
    "embedder.width": "Das Embedding-Modell gab Vektoren anderer Breite, als es beim Hereinbringen "
    "hatte. Bringen Sie es noch einmal herein.",
    "grammar.schema": "An dieses Schema lässt sich keine Antwort halten. Berichtigen Sie es, oder "
    "fragen Sie ohne eines.",
    "grammar.tokenizer": "Der Tokenizer dieses Modells buchstabiert seine Wörter nicht, sodass "
    "sich keine Antwort an ein Schema halten lässt. Fragen Sie ohne eines.",
    "vllm.missing": "vLLM ist hier nicht installiert. Installieren Sie es neben Counterpoint, oder "
    "bedienen Sie mit `--engine torch`.",
    "vllm.pipeline": "Eine Komposition läuft an einem Ort: Beide Modelle gehen im Gleichschritt. "
    "Verteilen Sie sie mit Tensor-Parallelität, nicht mit Pipeline-Parallelität.",
    "vllm.quantised": "Ein Modell ist auf eine Weise quantisiert, die vLLM unter Brücken nicht "
    "spielt[: {how}]. Bedienen Sie es mit `--engine torch`, oder nehmen Sie es in bfloat16.",
    "vllm.tokenizers": "Ein Augmenter hat einen eigenen Tokenizer, und das spielt nur unser "
    "eigener Server. Bedienen Sie ihn mit `--engine torch`.",
    "vllm.version": "Diese Version spielt Kompositionen auf vLLM {wanted}, und {found} ist "
    "installiert. Installieren Sie jene, oder bedienen Sie mit `--engine torch`.",
    "vllm.window": "Ein Modell hat ein gleitendes Fenster, das vLLM hier verlöre. Bedienen Sie es "
    "mit `--engine torch`.",
}

# Facts that are words of ours, with # for a number; names, paths and what other programs say stay
# as they are.
FACTS: dict[str, str] = {
    "# GB in all": "insgesamt # GB",
    "# MB unpacked": "# MB entpackt",
    "# files": "# Dateien",
    "# files in all": "insgesamt # Dateien",
    "# times its own size": "das #-Fache seiner Größe",
    "a document of an older Office": "ein Dokument eines älteren Office",
    "data of an unknown kind": "von unbekannter Art",
    "entities in its XML": "Entitäten in seinem XML",
    "it has no mail headers": "die Kopfzeilen einer Mail fehlen",
    "line # is not JSON": "Zeile # ist kein JSON",
    "memory": "Speicher",
    "no ending": "ohne Endung",
    "none": "keine",
    "the endpoint must be https": "der Endpunkt muss https sein",
    "the file is damaged or cut short": "die Datei ist beschädigt oder abgeschnitten",
    "the file is damaged or not complete": "die Datei ist beschädigt oder unvollständig",
    "the file lies outside the folder": "die Datei liegt außerhalb des Ordners",
    "the folder is not there": "den Ordner gibt es nicht",
    "the reader could not finish": "das Lesen kam zu keinem Ende",
    "time": "Zeit",
}
