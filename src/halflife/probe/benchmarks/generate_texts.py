"""What the people of generated histories say: facts in passing, the questions about them, and talk of other things.

A question shares few words with what answers it. Attributes are told in the words of daily life ("my shifts as a bus
driver") and asked for in others ("what do I do for a living?").
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """Something that may be true of a person.

    Args:
        name: Its name; two sessions that tell of one attribute conflict.
        values: What it may be.
        told: Sentences that tell it, with `{v}` for the value.
        asked: Questions for it; those about an event have `{when}`, those about a sum nothing.
        changed: Sentences that tell a new value; empty if it does not change.
    """

    name: str
    values: tuple[str, ...]
    told: tuple[str, ...]
    asked: tuple[str, ...]
    changed: tuple[str, ...] = ()


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(";"))


FACTS = (
    Attribute(
        "animal",
        _list("a beagle; a tabby kitten; a cockatiel; a dachshund; a tortoise; a greyhound; a Siamese; a hedgehog"),
        _list(
            "I have to keep the door shut because {v} follows me around all day; "
            "My evenings are short, since {v} wants feeding at seven; I had {v} asleep on my keyboard all morning"
        ),
        _list("Which pet shares my home?; What kind of creature do I look after?"),
    ),
    Attribute(
        "town",
        _list("Lisbon; Graz; Toronto; Bergen; Nagoya; Leeds; Valencia; Tartu; Galway; Utrecht"),
        _list(
            "I hear the trams of {v} from my desk, so I wear earplugs; My rent in {v} eats half of what I earn; "
            "My building in {v} has no lift, so I carry everything up"
        ),
        _list("Where is my home?; Which place do I live in?"),
        _list("I unpacked my last boxes in {v} and the keys work; I still get lost in {v} after the van left us there"),
    ),
    Attribute(
        "work",
        _list(
            "a dental nurse; a surveyor; a night porter; a luthier; a bus driver; a translator; a pastry chef; "
            "a lab technician; a tax clerk; a stage manager"
        ),
        _list(
            "My shifts as {v} begin before sunrise, so I am half asleep; I make ends meet as {v}, but my feet hurt; "
            "My boss is happy with me as {v}, or so she says"
        ),
        _list("What is my profession?; What do I do for a living?"),
        _list("I handed in my notice and began as {v} instead; My badge says I am {v} as of Monday"),
    ),
    Attribute(
        "allergy",
        _list("walnuts; shellfish; latex; penicillin; sesame; ragweed; kiwi; bee stings"),
        _list(
            "I ended up in hospital because of {v} once; My skin comes out in hives with {v}; "
            "I carry a pen in my bag in case of {v}"
        ),
        _list("What am I allergic to?; What should my host keep away from me?"),
    ),
    Attribute(
        "car",
        _list("a green Volvo; a rusty Fiat; an old Saab; a white Kia; a tiny Honda; a blue Skoda; a dented Ford"),
        _list(
            "I spilled coffee on the seats of {v} on my way in; I found {v} with a ticket under the wiper; "
            "My brother scratched {v} while backing out"
        ),
        _list("What vehicle do I own?; Which automobile am I driving?"),
        _list("I traded the old one in and picked up {v}; I signed the papers and they handed me {v}"),
    ),
    Attribute(
        "instrument",
        _list("cello; oboe; banjo; accordion; harp; trombone; ukulele; clarinet; mandolin"),
        _list(
            "My neighbours knock on the wall whenever I practise the {v}; My hands are sore from two hours of {v}; "
            "I left my {v} on the tram and ran after it"
        ),
        _list("What do I play in the orchestra?; What do I make music on?"),
    ),
    Attribute(
        "language",
        _list("Finnish; Korean; Welsh; Portuguese; Arabic; Polish; Greek; Swahili"),
        _list(
            "I mumble {v} verbs on the bus; My {v} tutor says that I swallow the vowels; "
            "I dreamt in {v} for the first time"
        ),
        _list("What am I learning to speak?; Which foreign tongue am I studying?"),
        _list("I gave the old course up, and my flashcards are all {v}; I enrolled in {v} in place of the other class"),
    ),
    Attribute(
        "sister",
        _list("Marit; Odile; Priya; Fenna; Zuzana; Ingrid; Noor; Beatriz"),
        _list(
            "I shared a bedroom with {v} as a child and we still bicker; I lent {v} my ladder, our parents laughed; "
            "My mother always calls me {v} by mistake, she mixes her daughters up"
        ),
        _list("What is the name of my sibling?; Who is my sister?"),
    ),
    Attribute(
        "phone",
        _list("a Fairphone; a Pixel; a Galaxy; a Nokia; an iPhone; a Xiaomi; an Xperia"),
        _list(
            "I dropped {v} in the sink and the screen flickers; My pocket has a hole, and {v} fell out; "
            "I forgot {v} on the train, with all my pictures"
        ),
        _list("Which handset do I use?; What do I make calls with?"),
        _list("I copied everything over to {v} when the replacement came; I got {v} from the shop, the other one died"),
    ),
    Attribute(
        "sport",
        _list("fencing; bouldering; rowing; judo; badminton; handball; water polo; curling"),
        _list("My calves ache from {v}; I tore a muscle at {v} and limp; I only see daylight between my desk and {v}"),
        _list("How do I keep fit?; What exercise do I get?"),
        _list("I left the old club and signed up for {v}; My knees could not take it, so I switched to {v}"),
    ),
    Attribute(
        "drink",
        _list("oolong; espresso; rooibos; cold brew; matcha; chai; cocoa; kombucha"),
        _list(
            "I cannot think before my first {v}; My desk has rings from all the {v}; I ran out of {v} and I am cross"
        ),
        _list("Which beverage is my favourite?; What is usually in my mug?"),
    ),
    Attribute(
        "partner",
        _list("a midwife; a fisherman; a judge; a roofer; a florist; a beekeeper; a pilot; a baker"),
        _list(
            "I married {v}, so our kitchen clock means little; My other half is {v} and came in at three; "
            "I sleep badly because living with {v} means odd hours"
        ),
        _list("How does my spouse earn money?; What is my husband's or wife's occupation?"),
    ),
)

TASTES = (
    Attribute(
        "hotel",
        _list("a balcony over the water; a rooftop pool; a view of the hills; a quiet courtyard; a kitchenette"),
        _list("I slept like a log because we had {v}; My idea of heaven on a trip is {v}"),
        _list("Where should I stay in Seattle?; Can you suggest accommodation for Miami?"),
    ),
    Attribute(
        "food",
        _list("fiery chillies; plenty of garlic; nothing fried; lots of greens; fresh herbs"),
        _list("I leave half of my plate unless there is {v} on it; My stomach is happiest with {v}"),
        _list("What could I cook tonight?; Any idea for a dinner?"),
    ),
    Attribute(
        "books",
        _list("slow Nordic crime; space opera; naturalists' diaries; graphic memoirs; Victorian ghost stories"),
        _list("I stayed up until two with {v} again; My shelf is bent under {v}"),
        _list("Could you recommend a novel?; What should I read on the train?"),
    ),
    Attribute(
        "camera",
        _list("my Sony mirrorless; my old Leica; my Nikon; my Polaroid; my Hasselblad"),
        _list("I never leave the house without {v} round my neck; I dropped {v} and only the strap saved it"),
        _list("Which accessories suit my photography?; What lens should I get next?"),
    ),
    Attribute(
        "songs",
        _list("baroque lute; Afrobeat; Delta blues; minimal techno; sea shanties"),
        _list("My headphones know nothing but {v}; I hum {v} in the shower until they bang on the door"),
        _list("Can you make me a playlist?; Which musicians would I enjoy?"),
    ),
    Attribute(
        "films",
        _list("black and white thrillers; silent comedies; westerns; documentaries on whales; heist capers"),
        _list("I fell asleep on the sofa in front of {v}; My friends tease me about {v}"),
        _list("What could I watch at the cinema?; Is there a movie for me?"),
    ),
)

EXPENSES = tuple(
    Attribute(
        name,
        _list(items),
        _list(
            "I handed over {p} dollars for {v}; My card is {p} dollars lighter because of {v}; "
            "I got {v} and it set me back {p} dollars"
        ),
        (f"How much money have I spent on {hobby} altogether?", f"What does my {hobby} cost me in total?"),
    )
    for name, hobby, items in (
        ("cycling", "cycling", "a new chain; clip-in pedals; a gel saddle; mudguards; a rear rack"),
        ("gardening", "gardening", "a pair of secateurs; rose fertiliser; a trowel; tulip bulbs; a watering can"),
        ("kitchen", "kitchenware", "a cast iron pan; a whisk; a mandoline; a stock pot; a pepper mill"),
        ("camping", "camping gear", "a gas stove; a down sleeping bag; a head torch; tent pegs; a dry bag"),
        ("aquarium", "the fish tank", "a heater; six neon tetras; a bag of gravel; a filter"),
        ("painting", "art supplies", "a tube of cobalt blue; sable brushes; an easel; a roll of canvas"),
        ("sewing", "dressmaking", "a bobbin case; four yards of linen; a steam iron; a box of buttons"),
        ("office", "home office equipment", "a standing desk; a second monitor; a webcam; a footrest"),
    )
)

EVENTS = (
    Attribute(
        "concert",
        _list("the brass band at the mill; a string quartet; the gospel choir; three punk acts; a jazz trio"),
        _list("I just came home from {v} and my ears ring; I was up late today with {v}, what a crowd"),
        _list("Which live music was I at {when}?; Whose gig did I attend {when}?"),
    ),
    Attribute(
        "outing",
        _list("the salt marsh; Kestrel Ridge; the gorge; the old railway line; the lighthouse"),
        _list("My boots are still wet from {v} today; I am back from {v} with blisters"),
        _list("Where did I go hiking {when}?; Which walk did I take {when}?"),
    ),
    Attribute(
        "repair",
        _list("the boiler; the gutter; the back gate; the dishwasher; the garage door"),
        _list("My hands are black, I got {v} going again today; I spent the whole afternoon lying under {v}"),
        _list("Which thing in the house did I fix {when}?; What broke and was mended {when}?"),
    ),
    Attribute(
        "guest",
        _list("my cousin Ravi; my uncle Bert; my old flatmate Sunniva; my niece Lotte; my godfather"),
        _list("I have just waved {v} off at the station; I cooked for {v} today and we talked for hours"),
        _list("Who came to visit me {when}?; Which visitor did I have {when}?"),
    ),
    Attribute(
        "meal",
        _list("the Georgian place; the noodle bar; the tapas cellar; the fish shack; the Ethiopian cafe"),
        _list("I am too full to move after {v} today; I burnt my tongue at {v} this evening"),
        _list("Which restaurant did I eat at {when}?; Where did I dine out {when}?"),
    ),
)

# What sessions are really about. Each sentence of a turn takes two of these; none tells of an attribute.
TOPICS = tuple(
    _list(nouns)
    for nouns in (
        "the starter; hydration; the proofing basket; oven steam; rye flour; the crumb; scoring; a second rise",
        "pivot tables; lookup formulas; named ranges; the summary sheet; merged cells; data validation; macros",
        "the late republic; the grain supply; veterans' land; the senate; provincial governors; aqueducts; the census",
        "the deposit; the inventory; the lease; wear and tear; the notice period; the agency; the meter reading",
        "dark matter; the cosmic background; redshift; supernovae; galaxy rotation; parallax; standard candles",
        "grid layout; media queries; the cascade; font loading; contrast ratios; flexbox; dark mode; focus outlines",
        "the Caro-Kann; pawn structure; the endgame; rook lifts; opposite bishops; time trouble; blunders",
        "the toast; the opening joke; the best man; a quotation; the anecdote; the closing line; the timing",
        "noise gates; the intro jingle; show notes; levels; cross-fades; room echo; transcripts; the feed",
        "spring tides; the shelf; estuaries; amphidromic points; the moon's orbit; storm surges; tide tables",
        "dice odds; player count; the rule book; resource cards; the tie-breaker; the turn order; play-testing",
        "loft insulation; damp; vapour barriers; the U-value; cold bridges; mineral wool; ventilation",
        "unit tests; type hints; the build script; flaky runs; mocking; coverage; the linter; refactoring",
        "the abstract; the literature review; citations; the method section; limitations; reviewers; the cover letter",
    )
)

# Sentences of any topic. About a third are first-person statements, as idle as most of what people say.
FRAMES = _list(
    "I read that {a} matters more than {b}; I tried to sort out {a} before {b}, and it went badly; "
    "I am not sure about {a}; My notes on {a} contradict those on {b}; I would like to keep {a} short; "
    "I have never really understood {a}; My friend swears that {a} comes first; "
    "Most guides explain {a} well but skip {b}; {a} usually goes wrong when {b} is rushed; "
    "There seems to be a trade-off between {a} and {b}; The part on {a} was clear, the part on {b} less so; "
    "Some people treat {a} and {b} as the same thing; It is often said that {b} follows from {a}; "
    "One video claimed that {a} can be ignored entirely; The usual advice on {a} is decades old; "
    "Nobody agrees on {b}, apparently; The example with {a} helped a lot; "
    "Could you explain how {a} relates to {b}?; What would you change about {a}?; "
    "Please make a short list for {a}; Is {a} worth the trouble without {b}?; Give an example of {a} and {b}, please; "
    "How long does {a} take compared with {b}?; Which mistakes are common with {a}?; Then go on with {b}"
)
REPLIES = _list(
    "Start with {a}; {b} can wait until that is settled; Think of {a} as the cause and of {b} as the effect; "
    "Three things matter for {a}: patience, order, and {b}; It depends on {b}, but {a} is a sound place to begin; "
    "Here is a short plan: first {a}, then {b}, then a check of both"
)
ASIDES = _list("By the way, ; Anyway, ; Excuse the delay, ; Oh, and ; Not that it matters, ; As it happens, ")
