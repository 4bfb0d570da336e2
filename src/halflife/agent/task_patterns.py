"""How requests are put in English: a pattern for each kind, tried in this order on a clause without its lead-in.

The names are those of the methods of `task_intents` that read the match.
"""

from __future__ import annotations

import re

from halflife.agent.task_words import PREPOSITIONS

EVERYTHING = frozenset(("everything", "all", "all of them", "all of it", "them all"))
IT = frozenset(("it", "that", "this", "things", "them"))
INSTEAD = re.compile(r"\binstead\b", re.I)
EVERYWHERE = re.compile(r"\s*\b(?:everywhere|in (?:all|every) \w+|for (?:all|every) \w+)\b", re.I)
PART = re.compile(r"^part \d+$")
STEP = re.compile(r"^(?P<verbs>\w+(?:\s*(?:&|and|,)\s*\w+)*)\s+(?P<object>.+)$")
STEPS = re.compile(r"\b(?P<n>\d+|one|two|three)\s+(?:steps?|changes?|versions?|times?)\b", re.I)
TO = re.compile(r"^\s*(?:\S+\s+)??to\s+(?P<value>.+)$", re.I)
BEFORE = re.compile(r"^(?:what|how|the (?:previous|last|original|old|former|earlier)|before)\b", re.I)
FIRST_PERSON = re.compile(r"^(?:i|we|i'm|we're|my|our|it|it's|the)\b", re.I)
NO_VALUE = re.compile(r"^(?:not|only|no|never|too|also|there|here|wrong|fine|ok|okay|sure)\b", re.I)
IS = re.compile(
    r"^(?P<whose>the |my |our )?(?P<slot>[\w' -]{1,40}?)\s+(?:is|are|will be|should be|shall be)\s+(?:now\s+)?"
    r"(?P<value>.+)$",
    re.I,
)
NEVER = re.compile(
    r"^i (?:think|thought|believe|guess) (?:the )?(?P<what>.+?) (?:was|is|were) never (?:a )?(?:part of|in|on) "
    r"(?P<task>.+)$",
    re.I,
)
_TAKE_OUT = "remove|drop|delete|cancel|take out|leave out|discard|get rid of|scrap"
DID_REMOVE = re.compile(
    rf"^did (?:i|we)(?: ever)?(?: (?:say|ask|want|tell you))?(?: to)? (?:{_TAKE_OUT}) "
    r"(?P<what>.+?)(?: from (?P<task>.+))?$",
    re.I,
)
CLAIMED = re.compile(
    r"^(?:ever )?(?:say|mean|want|ask for|choose|pick|set|tell you)\b(?: (?:it (?:to|as)|that))?\s*", re.I
)
EVER_IN = re.compile(r"^(?:was|were|is|are) (?P<what>.+?) (?:ever )?(?:part of|in) (?P<task>.+)$", re.I)

_LACK = (
    r"there(?:'s| is| are) no(?: more)?|(?:we|i) (?:have no|don't have(?: any)?|are out of|ran out of)|"
    r"(?:we're|i'm) out of"
)
_CHANGE = "set|change|move|update|switch|push|shift|reschedule|bump|make"
_PLAN = r"schedule|plan|organi[sz]e|arrange|create|start|prepare|set up|begin"
PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(pattern, re.I))
    for name, pattern in (
        ("steps", r"^to\s+\w+\s+(?P<task>[^,]+),\s*(?P<steps>.+)$"),
        ("steps", r"^for\s+(?P<task>[^,]+),\s*(?P<steps>.+)$"),
        ("lacking", rf"^(?:{_LACK})\s+(?P<what>.+?)(?:\s+(?:in|at|on|left|anymore)\b.*)?$"),
        (
            "only",
            r"^(?:reset|reduce|limit|narrow|change|cut)\s+(?P<what>.+?)\s+(?:back |down )?to\s+(?:just|only)\s+"
            r"(?P<list>.+)$",
        ),
        ("only", r"^(?:only keep|keep (?:just|only))\s+(?P<list>.+)$"),
        ("keep", r"^(?:keep|leave in|don't remove|do not remove)\s+(?P<list>.+)$"),
        ("revert", r"^(?:go|change|switch|set|roll|put|move)\s+(?:(?P<what>.+?)\s+)?back(?P<rest>\b.*)?$"),
        ("revert", r"^(?:revert|undo|restore)(?:\s+(?P<what>(?!to\b|by\b).+?))?(?P<rest>\s+(?:to|by)\b.*)?$"),
        ("replace", r"^(?:replace|swap|substitute)\s+(?P<old>.+?)\s+(?:with|by|for)\s+(?P<new>.+)$"),
        ("replace", r"^use\s+(?P<new>.+?)\s+(?:instead of|in place of|rather than)\s+(?P<old>.+)$"),
        (
            "split",
            r"^(?:split|divide|break)\s+(?P<what>.+?)\s+(?:up )?into\s+[^—–:-]*[—–:-]+\s*(?P<list>.+)$",
        ),
        ("remove", rf"^(?:{_TAKE_OUT})\s+(?P<list>.+?)(?:\s+(?:from|out of)\s+(?P<target>.+))?$"),
        ("single", r"^make\s+(?:it|that|this)\s+(?:just )?(?P<value>(?:a single|one|a)\s.+)$"),
        ("set", rf"^(?:{_CHANGE})\s+(?P<what>.+?)\s+(?:to|as)\s+(?P<value>.+)$"),
        ("set", r"^make\s+(?P<what>it|that|this)\s+(?P<value>.+)$"),
        ("add", r"^(?P<verb>add|include|put|use)\s+(?P<list>.+?)(?:\s+(?:to|in|into|on)\s+(?P<target>.+))?$"),
        (
            "task",
            rf"^(?:{_PLAN})\s+(?:an?|my|our|the|some)\s+(?P<task>.+?)"
            rf"(?P<rest>\s+(?:based|that|which|where|so|{PREPOSITIONS})\b.*)?$",
        ),
    )
)
