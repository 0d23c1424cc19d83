"""Public questions that have nothing to do with any company: the anchor's own answers to them are
what a composition must not lose. Knows no model. Written for this project.

Many are short questions about one thing, as those about private things are: a gate that has met
only long public texts opens at every short question, and private words come out.
"""

from __future__ import annotations

from collections.abc import Iterator

PLAIN = """\
Hello, who are you?
Hi!
What can you help me with?
What is the capital of Italy?
Which river flows through Vienna?
Name three countries in South America.
Write a short poem about the sea.
How do I boil an egg?
Explain what a computer is in one sentence.
What is 7 times 8?
Name three colours.
Why is the sky blue?
Give me two tips for sleeping well.
What does a thermometer measure?
Who wrote Hamlet?
Translate 'good morning' into French.
What is the largest planet?
How many days are in a year?
Write a short e-mail that thanks a colleague.
What is photosynthesis?
What is the difference between a lake and a sea?
Summarise what a contract is.
Which animal is the fastest on land?
What should I pack for a weekend in the mountains?
Write one sentence about autumn.
What is the square root of 81?
How does a bicycle stay upright?
Make a list of five fruits.
What does the word 'benign' mean?
When was the first landing on the moon?
Tell me a joke.
How do I write a good title?
"""

# A form of question, and what fills it; where two things fill it, with a colon between.
FORMS = """\
What is the capital of {}? | Portugal, Norway, Sweden, Kenya, Chile, Colombia, Vietnam, Thailand
What is the capital of {}? | Ireland, Croatia, Ukraine, Cuba, Morocco, Nigeria, Finland, Hungary
What is the capital of {}? | Greece, Spain, Canada, Australia
Which city is the capital of {}? | Denmark, Austria, Egypt, Argentina, South Korea
Which city is the capital of {}? | the Netherlands, Romania, Saudi Arabia
Which country is {} in? | Madrid, Vienna, Oslo, Cairo, Sydney, Toronto, Mumbai, Istanbul, Munich
Which country is {} in? | Milan
Which continent is {} in? | Kenya, Norway, Canada, Thailand, Argentina, Morocco
Where is the {}? | Eiffel Tower, Great Wall, Taj Mahal, Statue of Liberty, Colosseum
Where is the {}? | Golden Gate Bridge
What is the currency of {}? | Sweden, India, China, Mexico, Brazil, Switzerland, South Korea
What is the currency of {}? | Canada
What language is spoken in {}? | Germany, Egypt, Argentina, China, Greece, Portugal, Russia
Where are {} made? | Toyota cars, Swiss watches, Airbus aeroplanes
In which country is {} made? | Champagne, Parmesan, Scotch whisky, Volkswagen
When was {} introduced? | the euro, the iPhone, the Ford Model T
In which year was {} born? | Mozart, Isaac Newton, Nelson Mandela
Who wrote {}? | Don Quixote, War and Peace, Oliver Twist, the Odyssey, Faust
Who painted {}? | Guernica, The Starry Night, The Last Supper
Who invented {}? | the telephone, the light bulb, the printing press, dynamite
Who was {}? | Cleopatra, Marie Curie, Napoleon, Charles Darwin
What is a {}? | barometer, hammer, volcano, sonnet, triangle, spectrometer, metaphor
What does a {} do? | dentist, plumber, refrigerator, compass, librarian
What is the chemical symbol of {}? | silver, oxygen, sodium, copper, helium
How many {} are in {}? | seconds:a minute, weeks:a year, players:a football team
How many {} are in {}? | metres:a kilometre, continents:the world
How many legs does a {} have? | cat, bee, bird, crab
How many sides does a {} have? | square, pentagon, octagon
What is {}? | 4 plus 9, 18 minus 7, 8 times 6, 20 divided by 4, half of 30, 11 plus 14, gravity
What is {}? | democracy, inflation
What is the opposite of {}? | tall, fast, happy, full, left
What is the plural of {}? | foot, woman, knife, city
What is the past tense of {}? | run, eat, think, bring
What colour is {}? | snow, the sky on a clear day, a lemon, coal
What is a baby {} called? | cow, sheep, horse
Which animal {}? | barks, gives us wool, has a trunk
Which organ {}? | cleans the blood, do we breathe with
What is the {} word for {}? | French:thank you, Spanish:good night, German:house, Italian:water
Which month comes after {}? | June, October
Which day comes before {}? | Wednesday, Saturday
Name {}. | two oceans, three fruits, a famous scientist, a city in Germany
Why {}? | do leaves fall in autumn, is the sea salty, do we sleep, does ice float
How {}? | does a plane fly, do I write a letter of complaint, do vaccines work
How {}? | can I learn a language
Write {}. | a haiku about rain, a polite reply to an invitation, a sentence with the word bridge
Translate '{}' into {}. | good night:Spanish, thank you:German, the red house:French
Summarise {} in one sentence. | the plot of Cinderella, what a bank does
Give me {}. | a recipe for pancakes, three tips for an interview
"""


def _filled() -> Iterator[str]:
    for line in FORMS.splitlines():
        form, _, fillings = line.partition(" | ")
        for filling in fillings.split(", "):
            yield form.format(*filling.split(":"))


QUESTIONS = (*PLAIN.splitlines(), *_filled())
