"""Short texts on everyday things that come with the engine: what a training mixes in, so that a
model reads more than one company's papers. Written for this project, under its licence.

A name stands for its bytes for good, since specs and checkpoints name it: another text gets another
name, and a test holds the digests. Knows no model and no tokenizer.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from calm_engine.data import documents_in
from calm_engine.digests import file_digest
from calm_engine.selfstudy import Source
from calm_engine.specs import EVERYDAY

# A line that begins with "# " is the title of the text below it.
EVERYDAY_1 = """\
# Morning on the harbour
The first boats come back before the sun is up. On the quay somebody has lit a lamp, and two men \
carry boxes of ice from a van to the edge of the water. Nobody talks much. The fish are sorted by \
size: the large ones go to the restaurants in town, the small ones to the market, and what is \
left over feeds the gulls, which have been waiting on the roof since five. At seven the auction \
begins. Buyers stand in a half circle, and each of them watches the clock on the wall rather than \
the fish. When the price has fallen far enough, a hand goes up, and the box is sold. By eight the \
quay has been washed down, the vans have gone, and the fishermen sit in the cafe with their \
coffee. One of them is asleep already. Tomorrow it will begin again, unless the wind turns.

# How bread rises
Bread rises because of yeast, a fungus of a single cell. Flour holds starch, and some of this \
starch is broken down into sugar as soon as the flour becomes wet. The yeast eats the sugar and \
gives off two things: alcohol, which leaves in the oven, and carbon dioxide, a gas. The gas would \
escape if dough were only wet flour. But flour also holds proteins that join into long threads \
when they are kneaded. Bakers call this net gluten. It is stretchy, so that each bubble of gas \
blows it up like a small balloon. Warmth makes the yeast work faster, cold makes it slower; many \
bakers leave their dough in a cool place overnight, because slow bread tastes better. In the oven \
the gas expands once more, the net becomes firm, and the yeast dies. What remains are the holes.

# A letter to a neighbour
Dear Mrs Hale, thank you for looking after the cat while we were away. She seems to have grown, \
and I suspect that you gave her more than one supper. We have brought you a jar of honey from the \
village where we stayed; I will leave it at your door this evening, or hand it over if you are \
in. There is one more thing. The gutter above our shed is broken, and when it rains the water \
runs towards your fence. I have asked a roofer to come on Thursday morning. He will need to put a \
ladder on your side for about an hour. Would that suit you? If not, please say so and I will ask \
him for another day. With kind regards, your neighbour from number twelve, Peter Lindqvist.

# Why there are seasons
Many people believe that summer comes when the Earth is close to the Sun. It is the other way \
round in the north: the Earth is nearest to the Sun in early January. What makes the seasons is \
the tilt of the Earth. Its axis does not stand upright on the path around the Sun but leans by \
about twenty-three degrees, and it keeps leaning towards the same stars all year. In June the \
northern half leans towards the Sun. The Sun then climbs high in the sky, the days are long, and \
each square metre of ground receives much light. In December the same half leans away. The Sun \
stays low, its light is spread over more ground, and the nights are long. In the southern half \
everything is turned round, which is why people in Chile go to the beach at Christmas.

# Two friends plan a walk
"Shall we take the path by the river or the one over the hill?" asked Nora. "How long is each?" \
said Samuel. "By the river it is nine kilometres, and flat. Over the hill it is six, but you \
climb three hundred metres." Samuel looked at the sky. "If we walk four kilometres in an hour, \
the river takes us a little more than two hours." "And the hill?" "Six kilometres are an hour and \
a half. People say you should add an hour for every four hundred metres that you climb, so three \
quarters of an hour more. That is two hours and a quarter, too." Nora laughed. "Then it makes no \
difference." "It does," said Samuel. "From the hill you can see the sea." So they packed bread, \
apples and a flask of tea, and went over the hill.

# Soup from what is there
For four people you need one onion, two carrots, three potatoes, a litre of water and a spoon of \
oil. Chop the onion and fry it gently in the oil until it is soft but not brown. Cut the carrots \
and potatoes into small cubes and add them. Stir for two minutes. Pour in the water, add a \
teaspoon of salt, and let everything simmer for twenty minutes with the lid on. Then crush a few \
of the potatoes against the side of the pot: this thickens the soup. Taste it. If it is dull, add \
a little lemon or vinegar rather than more salt. Whatever else is in the kitchen can go in as \
well: a handful of lentils at the beginning, peas or spinach at the end, yesterday's rice, a rind \
of hard cheese. Serve it with bread.

# What a contract is
A contract is a promise that the law will help to keep. Two people agree on something, each gives \
or does something for the other, and both mean it to be binding. Nothing needs to be written down \
for most contracts: whoever buys a newspaper makes one. Writing helps because memory is poor and \
because it forces both sides to say what they mean. Some contracts must be written, for instance \
those about land in many countries. If one side does not do what was promised, the other may ask \
a court for money that makes good the loss, and sometimes for the thing itself. Not every promise \
counts. A promise to do something unlawful binds nobody, nor does one that was forced out of \
somebody by a threat. Children can make only few contracts of their own.

# The clockmaker's apprentice
In a town by a wide river there lived a clockmaker who had grown so old that his hands shook. He \
took an apprentice, a girl of thirteen, who could hold a hair still between two fingers. For a \
year she only swept the floor and listened. "What do you hear?" he asked each evening. "Clocks," \
she said at first. Later she said, "Forty clocks, and one that limps." In the second year he let \
her open the one that limped. A tooth of a wheel was worn, no more than the width of a hair. She \
made a new wheel from brass, and it took her eleven days. When she had set it in, she listened, \
and smiled. "What do you hear?" asked the old man. "Nothing," she said. "They all tick together, \
so that I hear only one." The next morning he gave her the key of the shop.

# Percentages without fear
A percentage is a fraction with one hundred below the line. Twenty per cent of 60 means twenty \
hundredths of 60, which is 12. An easy way is to find ten per cent first by moving the decimal \
point: ten per cent of 60 is 6, so twenty per cent is twice that, and five per cent is half of \
it, 3. Mind what the percentage refers to. A coat that costs 80 and is reduced by a quarter costs \
60. If its price then rises by a quarter, it costs 75 and not 80, because the second quarter is \
taken of the smaller sum. For the same reason a loss of fifty per cent needs a gain of one \
hundred per cent to be made good. And a rise from two per cent to three per cent is a rise by one \
percentage point, but by half.

# Das Fahrrad
Ein Fahrrad fällt nicht um, solange es rollt. Wer nach links kippt, lenkt ein wenig nach links, \
und schon rollen die Räder wieder unter den Schwerpunkt. Die meisten Menschen tun das, ohne es zu \
merken. Zum Fahren braucht man wenig Kraft: Auf ebener Straße reichen etwa hundert Watt für \
zwanzig Kilometer in der Stunde. Das meiste davon kostet die Luft, die der Fahrer vor sich \
herschiebt. Wer doppelt so schnell fährt, braucht deshalb viel mehr als die doppelte Kraft. Eine \
Gangschaltung ändert nicht die Arbeit, die zu tun ist, sondern teilt sie ein: Im kleinen Gang \
tritt man leicht und oft, im großen schwer und selten. Gepflegt wird ein Rad schnell. Die Kette \
bekommt alle paar Wochen etwas Öl, die Reifen brauchen Luft, und die Bremsen sollte man prüfen, \
bevor es bergab geht.

# How a vaccine works
The body keeps a memory of illnesses. When a germ enters for the first time, it takes days until \
fitting defences have been made, and in those days we are ill. Afterwards some cells remain that \
know the germ. If it comes a second time, they act within hours, and often we notice nothing. A \
vaccine gives the body this memory without the illness. It shows the defences a harmless part of \
the germ, a weakened form of it, or the plan by which cells build such a part for a few days. The \
arm may hurt and some people have a fever for a day: these are signs that the body is learning. \
For some germs the memory lasts for life. For others it fades or the germ changes its looks, and \
then the lesson must be repeated. When nearly everybody is protected, a germ finds no way from \
one person to the next, which also protects those who cannot be vaccinated.

# Minutes of the garden club
Present were nine members; two sent their apologies. The treasurer told that 412 were in the bank \
after the plant sale, which had brought in 96 more than last year. The path behind the greenhouse \
is muddy. It was agreed to buy two tons of gravel, at no more than 150, and to spread it on the \
second Saturday in March; Mr Obi will lend his barrow. Mrs Fontaine proposed to plant a hedge of \
hazel instead of repairing the fence. Five were for it, three against, and one did not vote, so \
the hedge will be planted in November. The water butt leaks again. Nobody knew why, and the \
matter was put off. The next meeting is on the first Tuesday of the month at half past six. Bring \
a chair.

# Lakes, seas and rivers
A river is water on its way, a lake is water that stays for a while, and a sea is salt water that \
is joined to the oceans or large enough to be taken for one. The Caspian Sea is by that rule a \
lake, since no water runs out of it, but its water is salty and nobody has ever seen across. \
Lakes are salty where water leaves them only into the air: rivers bring a little salt from the \
rocks, the water evaporates, and the salt remains. That is also how the oceans became salty. The \
Dead Sea holds about ten times as much salt as the ocean, so that a person lies on it like a \
cork. Most lakes are young. Many were dug by the ice some ten thousand years ago, and year by \
year mud and leaves fill them up, until a meadow lies where fish used to swim.

# The lost key
Yesterday I lost my key. I was sure that I had put it into the pocket of my coat, so I searched \
the coat, and then the other coat, and then the bag. I went back to the shop, where they had \
found a glove but no key. I asked at the library. A young man there looked under the desk, shook \
his head, and said, "Where did you have it last?" This is what everybody says, and it never \
helps, for whoever knew it would not be searching. At home my daughter opened the door. "You look \
tired," she said. "I have lost my key." She looked at me for a moment, and then at the door. The \
key was in the lock, on the outside, where it had been all afternoon. We have bought a small bell \
that hangs from it now.

# Sleeping better
Go to bed and get up at about the same time each day, also at the weekend: the body keeps a clock \
and does not like to have it moved. Daylight in the morning sets this clock, and bright light \
late in the evening disturbs it. Coffee stays in the blood for many hours, so the last cup should \
come soon after lunch. A cool, dark and quiet room helps; seventeen or eighteen degrees are warm \
enough. If you lie awake for more than twenty minutes, get up and do something dull until you are \
sleepy. Do not look at the clock. A short nap is fine, but half an hour after lunch is better \
than two hours before supper. Alcohol makes people fall asleep sooner and sleep worse. Whoever \
sleeps badly for many weeks should talk to a doctor.

# Une lettre de vacances
Chers amis, nous sommes bien arrivés. La maison se trouve au bord d'un petit lac, et le matin on \
n'entend que les oiseaux. Hier, nous avons marché jusqu'au village voisin, où il y a un marché \
tous les mercredis. Les enfants ont acheté des cerises et un fromage qui sent très fort. \
Aujourd'hui il pleut un peu, alors nous lisons et nous jouons aux cartes. Claire gagne toujours. \
Demain, si le temps le permet, nous prendrons le bateau pour visiter l'île et son vieux moulin. \
Nous rentrerons dimanche soir par le train de dix-huit heures. Pourriez-vous arroser les tomates \
d'ici là ? La clé est chez la voisine. Merci d'avance, et à bientôt. Nous vous embrassons, Marie \
et Antoine.

# What a library is for
A library lends books, but that is only the part that everybody sees. It keeps what nobody asks \
for this year and somebody will need in thirty. It gives the same answer to a professor and to a \
child. It is one of the few places in a town where a person may sit all day in the warmth without \
buying anything. The order on its shelves is an invention of its own: each subject has a number, \
and the numbers lie side by side as the subjects do, so that whoever finds one book on bees finds \
the others beside it. The catalogue answers a different question, namely where a certain book \
stands. Today the catalogue is a computer, and many books are files. The work has stayed the \
same: to choose, to keep, to find again, and to help those who do not know yet what they are \
looking for.

# Changing a wheel
Stop where the ground is firm and level, as far from the traffic as you can, and switch on the \
warning lights. Pull the handbrake. Take out the spare wheel, the jack and the wrench. Loosen the \
nuts by half a turn while the wheel still stands on the ground, otherwise it would turn with \
them. Now put the jack under the place that the handbook shows and raise the car until the wheel \
is free. Never put a hand or a foot below the car. Unscrew the nuts, keep them together, and take \
the wheel off. Set the spare wheel on, turn the nuts by hand as far as they go, and let the car \
down. Only then tighten them, each time the one opposite the last. Drive slowly, and have the \
pressure and the nuts checked at the next garage.

# Money and prices
Long ago a farmer who wanted shoes had to find a shoemaker who wanted grain. Money ends this \
search: everybody takes it, because everybody else does. It has three tasks. It pays, it measures \
what things are worth, and it keeps value until tomorrow. Shells, salt, cattle and silver have \
done these tasks; today most money is nothing but numbers in the books of banks. When prices rise \
all round, each coin buys less, which is called inflation. A little of it does not hurt. If it \
becomes large, people spend their money as fast as they can, and prices rise the more. When \
prices fall all round, people wait with buying because things will be cheaper next month, and \
shops and workshops stand idle. That is why central banks try to keep prices steady, and raise or \
lower the interest on loans to do so.

# The heron
A heron stands in the shallow water like a stick that somebody has put there. It may stand so for \
an hour. Small fish come near, because nothing moves, and because its grey legs look like reeds. \
Then the neck, which was folded like a spring, shoots forward, faster than an eye can follow, and \
the bird swallows. It eats fish, frogs, mice and now and then a young duck. In flight one tells a \
heron from a stork by its neck: the heron draws it in, the stork stretches it out. Herons nest in \
high trees, many pairs together, and use the same nests for years, adding a few twigs each \
spring. In hard winters they go hungry when the ponds freeze. You can then see them in fields, \
waiting beside the hole of a mouse as patiently as beside the water.

# A complaint, and its answer
To the railway: On 4 May I took the train at 7.42. It came fifty minutes late, and I missed my \
connection. Nobody on the platform could say when the next train would leave. I ask for a refund \
of half my fare, which was 36. Yours faithfully, A. Moreau. The answer: Dear Ms Moreau, we are \
sorry that your journey went wrong. A signal had failed, and the trains behind it had to wait. \
That the board on the platform showed nothing was our mistake, and we have spoken with those who \
run it. For a delay of more than half an hour we pay back half the fare. You will find 18 in your \
account within a week. We hope that you will travel with us again.

# La casa y el árbol
Cuando mi abuelo compró la casa, plantó un nogal delante de la puerta. Los vecinos se rieron, \
porque un nogal tarda muchos años en dar nueces. Mi abuelo les contestó que él también había \
comido nueces que otros habían plantado. Hoy el árbol es más alto que el tejado. En verano \
comemos a su sombra, y en otoño recogemos tantas nueces que las regalamos por todo el pueblo. Mi \
hermano quería cortarlo, porque las hojas tapan el canalón. Hablamos toda una noche, y al final \
decidimos limpiar el canalón dos veces al año. El mes pasado mi hija plantó una nuez en una \
maceta. Ya se ven dos hojas.

# Reading a map
A map is a view from above, made small. The scale says how small: at one to fifty thousand, one \
centimetre on paper is five hundred metres on the ground. North is at the top unless an arrow \
says otherwise. Thin brown lines join places of the same height. Where they lie close together \
the slope is steep; where they are far apart the land is nearly flat; closed rings are hills, or \
hollows if small strokes point inwards. Water is blue, woods are green, and the signs for \
churches, bridges and railways are explained at the edge. To find where you are, turn the map \
until its north points north, look for two things that you can recognise, such as a tower and the \
bend of a river, and draw from each the line along which you see it. You stand where the lines \
cross.

# Questions of a child
Why is the sky blue? Because air scatters blue light more than red, so that blue comes to us from \
all sides. Why is the sunset red? Because the light then goes a long way through the air, and \
most of the blue has been lost on the way. Where does the wind come from? Warm air rises, and \
other air flows in to take its place. Why do we not feel that the Earth turns? Because everything \
turns with us, evenly, like in a train that runs smoothly. Why do cats purr? Nobody knows for \
certain. They do it when they are content, and sometimes when they are hurt. How far can one \
count? As far as one likes: whoever names a largest number can be answered with one more. And \
what was before everything? That is a good question, and I do not know.

# Writing so that others understand
Think of one reader and write to that person. Say first what the reader must know, and give the \
reasons afterwards. One thought for a sentence and one subject for a paragraph are enough. Choose \
the short word if it says the same, and the exact word if it does not. Verbs carry a sentence \
better than nouns: "we decided" is clearer than "a decision was taken". Use the same word for the \
same thing all the way through; changing it for variety makes people wonder whether you mean \
something else. Give an example where a rule is hard to follow. Then put the text away, read it \
aloud the next day, and strike out what nobody would miss. If a sentence makes you stumble, it \
will make others stumble as well.

# Ordnung in der Werkstatt
Jedes Werkzeug hat seinen Platz an der Wand, und hinter jedem ist sein Umriss gezeichnet. So \
sieht man am Abend sofort, was fehlt. Schrauben liegen nach Länge sortiert in Gläsern, deren \
Deckel unter das Regal geschraubt sind. Was stumpf ist, kommt in eine rote Kiste und wird am \
Freitag geschliffen. Wer etwas ausleiht, hängt eine Marke mit seinem Namen an die leere Stelle. \
Strom und Wasser werden abgestellt, bevor der Letzte geht, und ölige Lappen kommen in den \
Blechkasten mit dem Deckel, weil sie sich von selbst entzünden können. Neue lernen das in einer \
Stunde. Der Meister sagt, er habe in dreißig Jahren nie länger als eine Minute nach einem Hammer \
gesucht.

# The tide
Twice a day the sea rises and falls. The Moon pulls at the water on the side that faces it a \
little more than at the Earth as a whole, and at the water on the far side a little less, so that \
two low bulges form, one towards the Moon and one away from it. The Earth turns beneath them, and \
each coast passes both in a little less than twenty-five hours. The Sun does the same with less \
than half the strength. At new moon and at full moon both pull along one line, and the tides are \
high; at half moon they work against each other. How much the water rises depends on the coast. \
In the open ocean it is less than a metre, in a narrow bay that leads it together it may be more \
than ten. Fishermen carry a table of the tides, for whoever comes too late finds the boat lying \
on the mud.

# A game for a rainy day
All you need is paper, a pencil and three people or more. Everybody writes a short sentence at \
the top of a sheet and hands it to the left. The next one draws a picture of the sentence below \
it, folds the sheet so that only the picture can be seen, and hands it on. The next one writes \
down in words what the picture shows, folds again, and so it goes until every sheet is back where \
it began. Then all sheets are unfolded and read aloud. "The postman is afraid of the dog" may \
have become "An elephant delivers balloons". Nobody wins. It is best with people who cannot draw, \
and with somebody who laughs easily.
"""

TEXTS = {EVERYDAY: EVERYDAY_1}


def sources_of(general: str) -> Iterator[Source]:
    """The documents of a spec's general text: ours by its name, else a file of JSON lines.

    Raises what reading a row raises.
    """
    if general not in TEXTS:
        yield from documents_in(general)
        return
    for part in TEXTS[general].removeprefix("# ").split("\n\n# "):
        title, _, text = part.partition("\n")
        yield Source(hashlib.sha256(text.encode()).hexdigest(), title, text.strip())


def file_of(general: str, folder: Path) -> Path:
    """A spec's general text as a file of JSON lines; one of ours is written into the folder."""
    if general not in TEXTS:
        return Path(general)
    path = folder / f"{general}.jsonl"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        aside = folder / f".{path.name}.{os.getpid()}"  # several processes may come here at once
        aside.write_bytes(_lines(general))
        aside.replace(path)
    return path


def digest_of(general: str) -> str:
    """SHA-256 of the JSON lines, in hex."""
    if general in TEXTS:
        return hashlib.sha256(_lines(general)).hexdigest()
    return file_digest(Path(general))


def _lines(name: str) -> bytes:
    rows = (
        {"digest": one.digest, "title": one.title, "text": one.text} for one in sources_of(name)
    )
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()
