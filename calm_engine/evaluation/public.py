"""A hundred questions that everybody may answer, to see whether a composition lost any of it.

Written for this project, in the public domain (CC0). None is among those that the bridges are
trained to leave as they were (`calm_engine.general`). Knows no model.
"""

from __future__ import annotations

TOLD = """\
What is the capital of Belgium? | Brussels
What is the capital of Poland? | Warsaw
What is the capital of China? | Beijing
What is the capital of India? | New Delhi
What is the capital of Russia? | Moscow
What is the capital of Turkey? | Ankara
What is the capital of Peru? | Lima
What is the capital of Mexico? | Mexico City
What is the capital of Iceland? | Reykjavik
What is the capital of Switzerland? | Bern
Which country is Paris in? | France
Which country is Rome in? | Italy
Which country is Tokyo in? | Japan
Which country is Berlin in? | Germany
Which continent is Egypt in? | Africa
Which continent is Brazil in? | South America
Which continent is Japan in? | Asia
What is the largest ocean on Earth? | Pacific
What is the longest river in South America? | Amazon
What is the highest mountain in the world? | Everest
Which planet is closest to the Sun? | Mercury
Which planet is known as the Red Planet? | Mars
What is the name of the star at the centre of our solar system? | Sun
What do plants take in from the air to grow? | carbon dioxide
What gas do people need to breathe? | oxygen
What is water made of besides oxygen? | hydrogen
What is the chemical symbol of gold? | Au
What is the chemical symbol of iron? | Fe
At how many degrees Celsius does water boil at sea level? | 100
At how many degrees Celsius does water freeze? | 0
How many legs does a spider have? | 8
How many legs does a dog have? | 4
How many sides does a triangle have? | 3
How many sides does a hexagon have? | 6
How many minutes are in an hour? | 60
How many hours are in a day? | 24
How many days are in a week? | 7
How many months are in a year? | 12
How many letters are in the English alphabet? | 26
How many centimetres are in a metre? | 100
What is 5 plus 7? | 12
What is 9 plus 6? | 15
What is 20 minus 8? | 12
What is 15 minus 9? | 6
What is 6 times 4? | 24
What is 3 times 9? | 27
What is 10 divided by 2? | 5
What is 12 divided by 3? | 4
What is half of 50? | 25
What is twice 16? | 32
What is the opposite of hot? | cold
What is the opposite of big? | small
What is the opposite of up? | down
What is the opposite of early? | late
What is the opposite of open? | closed
What is the plural of child? | children
What is the plural of mouse? | mice
What is the past tense of go? | went
What is the past tense of see? | saw
What is the past tense of write? | wrote
What colour do you get when you mix blue and yellow? | green
What colour do you get when you mix red and white? | pink
What colour is grass? | green
What colour is a ripe banana? | yellow
What is a baby dog called? | puppy
What is a baby cat called? | kitten
Which animal says moo? | cow
Which insect makes honey? | bee
Which organ pumps blood through the body? | heart
Which organ do we use to think? | brain
Which sense do we use our ears for? | hearing
Who painted the Mona Lisa? | Leonardo da Vinci
Who wrote Romeo and Juliet? | Shakespeare
Who developed the theory of relativity? | Einstein
Who was the first president of the United States? | Washington
In which country were the ancient pyramids of Giza built? | Egypt
What language is spoken in Brazil? | Portuguese
What language is spoken in Mexico? | Spanish
What language is spoken in Austria? | German
What is the currency of Japan? | yen
What is the currency of the United States? | dollar
What is the currency of the United Kingdom? | pound
What is the French word for yes? | oui
What is the Spanish word for hello? | hola
What is the German word for thank you? | danke
Which month comes after April? | May
Which month comes before September? | August
Which day comes after Sunday? | Monday
Which season comes after winter? | spring
What is frozen water called? | ice
What tool do you use to drive a nail? | hammer
What do you call a person who treats sick animals? | vet
What do you call a person who flies an aeroplane? | pilot
What do bees collect from flowers? | nectar
Which instrument has black and white keys? | piano
What is the main ingredient of bread? | flour
Which fruit is used to make wine? | grape
In which direction does the Sun rise? | east
What force pulls objects towards the Earth? | gravity
What is the freezing point of water in degrees Fahrenheit? | 32
"""

PAIRS = tuple(
    (asked, answer) for asked, _, answer in (line.partition(" | ") for line in TOLD.splitlines())
)
