"""What the people of Memory-R1's generated dialogues say, by kind of fact; templates only, the drawing is elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Nature: TypeAlias = Literal["replace", "complement", "retract"]
"""What a later statement does to an earlier one."""

SYLLABLES = (
    "ba be bo da do du fa fe ga go ka ke ki la le lo ma me mo na ne no pa po ra re ri ro sa se ta te to va ve za"
)
NAMES = tuple(
    """Anna Ben Carla Dario Elena Felix Greta Hugo Ines Jonas Klara Leo Mira Nils Olga Pavel Quinn Rosa Stefan Tara
    Ulrich Vera Walter Xenia Yusuf Zoe Amir Bianca Cosmo Dana Emil Flora Gina Harald Irma Jakob Kira Lars Maja
    Noah""".split()
)


@dataclass(frozen=True)
class Kind:
    """One kind of fact.

    Parameters
    ----------
    name: what it is called in tables.
    nature: what a later statement does to an earlier one.
    weight: how often it is talked about.
    question: asks for it.
    first, then: templates of the first statement and of later ones, with {p} for the person and {v} for the value;
        one with {p} that begins with "I" is said by the person, and is turned into a fact as any message is.
    values: what the value is drawn from; empty makes up names.
    """

    name: str
    nature: Nature
    weight: float
    question: str
    first: tuple[str, ...]
    then: tuple[str, ...]
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class World:
    """What a dialogue is drawn from.

    Parameters
    ----------
    kinds: of facts. talk: templates of small talk.
    people, kinds_each: how many people a dialogue has, and how many of the kinds (0: all) it is about.
    talk_share, repeat_share: of the turns that are small talk, or say again what was said.
    reworded: share of the repeats that are in other words.
    """

    kinds: tuple[Kind, ...]
    talk: tuple[str, ...]
    people: int = 6
    kinds_each: int = 0
    talk_share: float = 0.14
    repeat_share: float = 0.10
    reworded: float = 0.0


def _world(
    city: tuple[str, str, str, str], pet: tuple[str, ...], club: tuple[str, ...], talk: tuple[str, ...]
) -> World:
    return World(
        (
            Kind("city", "replace", 0.28, "Where does {p} live?", city[:2], city[2:]),
            Kind("pet", "complement", 0.28, "Which pets does {p} have?", pet[:2], pet[2:]),
            Kind("club", "retract", 0.20, "Which club is {p} a member of?", club[:2], club[2:]),
        ),
        talk,
    )


PAPER = _world(
    ("{p} lives in {v}.", "{p} has a flat in {v}.", "{p} moved to {v}.", "{p} now lives in {v}."),
    ("{p} adopted a dog named {v}.", "{p} has a pet called {v}.",
     "{p} also adopted a dog named {v}.", "{p} got another pet called {v}."),
    ("{p} joined the {v} club.", "{p} became a member of the {v} club.",
     "{p} cancelled the membership of the {v} club.", "{p} left the {v} club."),
    ("{p} says the weather is lovely.", "{p} had a busy day."),
)  # fmt: skip
"""The world of the calibrated experiment: a fact that is replaced, one that is complemented, one that is retracted."""

PAPER_HELD_OUT = _world(
    ("{p} resides in {v}.", "{p} is at home in {v}.", "{p} relocated to {v}.", "{p} has settled in {v} instead."),
    ("{p} owns a cat named {v}.", "{p} takes care of a puppy called {v}.",
     "{p} additionally took in a kitten named {v}.", "{p} owns a second animal called {v}."),
    ("{p} signed up for the {v} club.", "{p} is part of the {v} club.",
     "{p} quit the {v} club.", "{p} is no longer part of the {v} club."),
    ("{p} hopes for a sunny weekend.", "{p} feels tired today."),
)  # fmt: skip
"""The same kinds in other words, none of which the training has."""

CITIES = tuple(
    "Oslo Bergen Rome Graz Lyon Porto Ghent Malmo Turin Basel Leeds Cork Gdansk Vilnius Seville Nice".split()
)
TASTES = tuple("tea jazz chess hiking snow trains opera olives poetry cheese tulips puzzles comics sailing".split())
JOBS = tuple("nurse baker teacher pilot lawyer welder florist plumber chemist dentist editor barber farmer".split())
COLOURS = tuple("red blue green yellow purple orange black white grey pink brown turquoise silver".split())
FOODS = tuple("sushi pizza lasagne falafel curry ramen goulash paella tacos risotto dumplings pancakes".split())
CARS = tuple("Volvo Tesla Fiat Skoda Toyota Renault Mazda Honda Peugeot Kia Subaru Opel".split())
SPORTS = tuple("tennis judo rugby golf karate hockey badminton rowing fencing climbing swimming boxing".split())
TONGUES = tuple("Spanish French Greek Finnish Korean Arabic Polish Turkish Dutch Czech Danish Hindi".split())
FOES = tuple("nuts milk eggs wheat shellfish pollen latex cats soy penicillin dust celery".split())
MUSIC = tuple("cello flute piano guitar violin trumpet harp drums oboe banjo clarinet organ".split())
PAPERS = tuple("newspaper streaming magazine gym podcast cinema meal-kit museum software bike-share".split())

BROAD = World(
    (
        Kind("city", "replace", 1, "Where does {p} live?",
             ("I live in {v}.", "{p} lives in {v}.", "{p}'s home is in {v}.", "I moved to {v}.", "{p} moved to {v}."),
             ("I moved to {v}.", "{p} moved to {v}.", "{p} now lives in {v}.", "I just moved to {v} for good."),
             CITIES),
        Kind("taste", "complement", 1, "What does {p} like?",
             ("I like {v}.", "{p} likes {v}.", "I love {v}.", "{p} is fond of {v}."),
             ("I like {v}.", "{p} likes {v}.", "I also enjoy {v}.", "{p} is fond of {v} too."), TASTES),
        Kind("job", "replace", 1, "What is {p}'s job?",
             ("I work as a {v}.", "{p} works as a {v}.", "{p} is a {v}.", "My job is {v}.", "{p} became a {v}."),
             ("I now work as a {v}.", "{p} became a {v}.", "{p} changed jobs and is a {v} now.",
              "I switched careers and became a {v}."), JOBS),
        Kind("employer", "replace", 1, "Which company does {p} work for?",
             ("I work for {v}.", "{p} works at {v}.", "{p} has a position at {v}.", "My employer is {v}."),
             ("I now work for {v}.", "{p} switched to {v}.", "{p} has a new position at {v}.",
              "I changed over to {v}.")),
        Kind("colour", "replace", 0.7, "What is {p}'s favourite colour?",
             ("My favourite colour is {v}.", "{p}'s favourite colour is {v}.", "{p} likes the colour {v} best."),
             ("My favourite colour is now {v}.", "{p}'s favourite colour is {v} these days.",
              "{p} now likes the colour {v} best."), COLOURS),
        Kind("food", "replace", 0.7, "What is {p}'s favourite food?",
             ("My favourite food is {v}.", "{p}'s favourite food is {v}.", "{p} likes to eat {v} best."),
             ("My favourite food is now {v}.", "{p}'s new favourite food is {v}.", "{p} prefers to eat {v} instead."),
             FOODS),
        Kind("car", "replace", 0.7, "Which car does {p} drive?",
             ("I drive a {v}.", "{p} drives a {v}.", "{p}'s car is a {v}.", "I own a {v} car.", "I drive a {v} now."),
             ("I drive a {v} now.", "{p} replaced the car with a {v}.", "{p}'s new car is a {v}.",
              "I swapped my car for a {v}."), CARS),
        Kind("pet", "complement", 1, "Which pets does {p} have?",
             ("I have a dog called {v}.", "{p} adopted a dog named {v}.", "{p} has a cat called {v}.",
              "I bought a parrot called {v}."),
             ("I also have a cat called {v}.", "{p} also adopted a dog named {v}.", "{p} got another cat called {v}.",
              "I bought a second parrot called {v}.", "{p} has a cat called {v}.")),
        Kind("language", "complement", 1, "Which languages does {p} speak?",
             ("I speak {v}.", "{p} speaks {v}.", "{p} is fluent in {v}."),
             ("I also speak {v}.", "{p} speaks {v} as well.", "{p} is fluent in {v} too.",
              "I learned one more language, {v}.", "{p} speaks {v}."), TONGUES),
        Kind("child", "complement", 0.7, "What are the names of {p}'s children?",
             ("I have a daughter named {v}.", "{p} has a son named {v}.", "{p}'s child is called {v}."),
             ("I also have a son named {v}.", "{p} has a second daughter named {v}.",
              "{p}'s other child is called {v}.")),
        Kind("allergy", "complement", 0.7, "What is {p} allergic to?",
             ("I am allergic to {v}.", "{p} is allergic to {v}.", "{p} has an allergy to {v}."),
             ("I am also allergic to {v}.", "{p} is allergic to {v} too.", "{p} has another allergy, to {v}."), FOES),
        Kind("trip", "complement", 0.7, "Which places has {p} visited?",
             ("I visited {v}.", "{p} visited {v}.", "{p} went on a trip to {v}."),
             ("I visited {v} as well.", "{p} also visited {v}.", "{p} went on another trip to {v}.",
              "I visited {v}."), CITIES),
        Kind("club", "retract", 0.8, "Which club is {p} a member of?",
             ("I joined the {v} club.", "{p} joined the {v} club.", "{p} is a member of the {v} club."),
             ("I left the {v} club.", "{p} cancelled the membership of the {v} club.",
              "{p} is no longer a member of the {v} club.")),
        Kind("sport", "retract", 0.8, "Which sport does {p} do?",
             ("I do {v} every week.", "{p} plays {v}.", "{p} trains {v} twice a week.", "I started {v}."),
             ("I no longer do {v}.", "{p} stopped {v}.", "{p} gave up {v}.", "I quit {v}."), SPORTS),
        Kind("instrument", "retract", 0.8, "Which instrument does {p} play?",
             ("I play the {v}.", "{p} plays the {v}.", "{p} takes lessons on the {v}."),
             ("I no longer play the {v}.", "{p} gave up the {v}.", "{p} does not play the {v} anymore.",
              "I stopped my lessons on the {v}."), MUSIC),
        Kind("subscription", "retract", 0.8, "Which subscription does {p} have?",
             ("I have a {v} subscription.", "{p} has a {v} subscription.", "{p} subscribed to the {v} service."),
             ("I cancelled my {v} subscription.", "{p} cancelled the {v} subscription.",
              "{p} dropped the {v} service."), PAPERS),
        Kind("course", "retract", 0.7, "Which course does {p} take?",
             ("I take a course called {v}.", "{p} attends the {v} course.", "{p} enrolled in the {v} class."),
             ("I withdrew from the course called {v}.", "{p} finished with the {v} course.",
              "{p} dropped out of the {v} class.")),
    ),
    ("{p} says the weather is lovely.", "{p} had a busy day.", "{p} hopes for a sunny weekend.", "{p} feels tired.",
     "{p} says hello.", "{p} laughs at a joke.", "{p} thinks it is cold today.", "{p} wishes everyone a good evening."),
    people=4,
    kinds_each=6,
    reworded=0.5,
)  # fmt: skip
"""A wider world, on which the shipped weights are trained."""

BROAD_HELD_OUT = World(
    (
        Kind("address", "replace", 1, "On which street does {p} live?",
             ("My address is {v} Street.", "{p}'s address is {v} Street."),
             ("My new address is {v} Street.", "{p} has relocated to {v} Street.")),
        Kind("dentist", "replace", 1, "Who is {p}'s dentist?",
             ("My dentist is Doctor {v}.", "{p}'s dentist is Doctor {v}."),
             ("My dentist is now Doctor {v}.", "{p}'s new dentist is Doctor {v}.")),
        Kind("degree", "replace", 1, "What does {p} study?",
             ("I study {v} studies.", "{p} studies {v} studies."),
             ("I changed to {v} studies.", "{p} transferred to {v} studies.")),
        Kind("garden", "complement", 1, "What does {p} grow in the garden?",
             ("I grow {v} in my garden.", "{p} grows {v} in the garden."),
             ("I grow {v} in my garden as well.", "{p} additionally grows {v} in the garden.")),
        Kind("sibling", "complement", 1, "What are {p}'s sisters called?",
             ("I have a sister called {v}.", "{p} has a sister called {v}."),
             ("I have another sister called {v}.", "{p} has a second sister called {v}.")),
        Kind("volunteering", "retract", 1, "Where does {p} volunteer?",
             ("I volunteer at the {v} shelter.", "{p} volunteers at the {v} shelter."),
             ("I stopped volunteering at the {v} shelter.", "{p} no longer volunteers at the {v} shelter.")),
        Kind("choir", "retract", 1, "In which choir does {p} sing?",
             ("I sing in the {v} choir.", "{p} sings in the {v} choir."),
             ("I left the {v} choir.", "{p} resigned from the {v} choir.")),
    ),
    ("{p} is looking forward to the holidays.", "{p} slept badly.", "{p} waves at everybody."),
    people=4,
    kinds_each=6,
    reworded=0.5,
)  # fmt: skip
"""Kinds of facts, and words, that the shipped weights have never met."""
