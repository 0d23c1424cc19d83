"""Public questions that have nothing to do with any company: the anchor's own answers to them are
what a composition must not lose. Knows no model. Written for this project.
"""

from __future__ import annotations

QUESTIONS = (
    "Hello, who are you?",
    "Hi!",
    "What can you help me with?",
    "What is the capital of Italy?",
    "Which river flows through Vienna?",
    "Name three countries in South America.",
    "Write a short poem about the sea.",
    "How do I boil an egg?",
    "Explain what a computer is in one sentence.",
    "What is 7 times 8?",
    "Name three colours.",
    "Why is the sky blue?",
    "Give me two tips for sleeping well.",
    "What does a thermometer measure?",
    "Who wrote Hamlet?",
    "Translate 'good morning' into French.",
    "What is the largest planet?",
    "How many days are in a year?",
    "Write a short e-mail that thanks a colleague.",
    "What is photosynthesis?",
    "What is the difference between a lake and a sea?",
    "Summarise what a contract is.",
    "Which animal is the fastest on land?",
    "What should I pack for a weekend in the mountains?",
    "Write one sentence about autumn.",
    "What is the square root of 81?",
    "How does a bicycle stay upright?",
    "Make a list of five fruits.",
    "What does the word 'benign' mean?",
    "When was the first landing on the moon?",
    "Tell me a joke.",
    "How do I write a good title?",
)
