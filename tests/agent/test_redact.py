"""Secrets are kept out at the door: of the text, the metadata and the reasons, by whatever way they come in."""

from __future__ import annotations

import builtins
import gzip
import json
import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halflife import Memory
from halflife.agent import redact
from halflife.agent.redact import Redactor
from halflife.cli import main
from halflife.errors import InvalidInput, MissingExtra
from halflife.store.trace import Space

LOCOMO = Path(__file__).resolve().parents[3] / "shared/data/locomo/locomo5.json.gz"
Open = Callable[..., Memory]

_random = random.Random(7)
HEX, LETTERS = "0123456789abcdef", string.ascii_letters + string.digits


def some(count: int, alphabet: str = LETTERS) -> str:
    return "".join(_random.choice(alphabet) for _ in range(count))


def pem(kind: str) -> str:
    body = "\n".join(some(64, LETTERS + "/+") for _ in range(12))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


# Made up, each in the form of the real thing.
SECRETS = {
    "aws id": ("AKIA" + some(16, "ABCDEFGHIJ234567"), "api key"),
    "aws secret": ("aws_secret_access_key=" + some(40, LETTERS + "/+"), "password"),
    "github": ("ghp_" + some(36), "api key"),
    "github fine": (f"github_pat_{some(22)}_{some(59)}", "api key"),
    "gitlab": ("glpat-" + some(20), "api key"),
    "openai": (f"sk-proj-{some(58)}T3BlbkFJ{some(58)}", "api key"),
    "anthropic": (f"sk-ant-api03-{some(93)}AA", "api key"),
    "stripe": ("sk_live_" + some(24), "api key"),
    "slack": (f"xoxb-{some(12, '123456789')}-{some(12, '123456789')}-{some(24)}", "api key"),
    "google": ("AIza" + some(35), "api key"),
    "hugging face": ("hf_" + some(34, string.ascii_letters), "api key"),
    "npm": ("npm_" + some(36), "api key"),
    "sendgrid": (f"SG.{some(22)}.{some(43)}", "api key"),
    "twilio": ("SK" + some(32, HEX), "api key"),
    "jwt": (f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.{some(43)}", "api key"),
    "bearer": ("Authorization: Bearer " + some(40), "api key"),
    "rsa": (pem("RSA "), "private key"),
    "openssh": (pem("OPENSSH "), "private key"),
    "address": (f"postgres://anna:{some(14)}@db.example.org:5432/main", "password"),
    "password": (f"password: {some(12)}", "password"),
    "visa": ("4111 1111 1111 1111", "card number"),
    "mastercard": ("5555-5555-5555-4444", "card number"),
    "amex": ("378282246310005", "card number"),
    "email": ("anna.lee+shop@mail.example.co.uk", "email"),
    "email of an umlaut": ("jörg@müller.example", "email"),
}
PROSE = (
    "Meet me at 10:30 @ the café, table 4.", "My order number is 4111111111111112.", "@anna told @ben about it.",
    "Call +1 415 555 0100 or 0049 30 901820.", "The password is on the fridge.", "password: none of your business",
    "It cost $1,234,567.89 in 2024-05-01T10:00:00Z.", "Version 1.2.3.4, build 2024.05.01", "a@b and c@d", "",
    "commit 3f786850e387550fdab836ed7e6dc881de23001b", "id 0199c3d2-5b1e-7f3a-9c41-2f6d8a0b7e55", "https://x.org/@anna",
)  # fmt: skip


@pytest.fixture(scope="module")
def secrets() -> Redactor:
    pytest.importorskip("kingfisher_sdk", reason="needs the extra redact")
    return Redactor("secrets")


@pytest.fixture
def remover() -> Callable[[str], str]:
    """A rule of a caller's own, which needs no library."""
    return lambda text: text.replace("swordfish", "[password]")


def left_in(folder: Path, *needles: str) -> list[str]:
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [f"{n} in {path.name}" for n in needles for path, data in files.items() if n.encode() in data]


@pytest.mark.parametrize("name", SECRETS)
def test_what_is_a_secret(secrets: Redactor, name: str) -> None:
    secret, label = SECRETS[name]
    text, labels = secrets.text(f"Here — it is: {secret} , keep it safe.")
    assert labels == (label,)
    assert f"[{label}]" in text
    assert text.startswith("Here — it is: ")
    assert text.endswith(" , keep it safe.")
    hidden = secret.split("=")[-1].removeprefix("password: ").removeprefix("Authorization: Bearer ")
    assert hidden not in text
    assert secrets.text(text) == (text, ())  # a placeholder is no secret


@pytest.mark.parametrize("text", PROSE)
def test_what_is_none(secrets: Redactor, text: str) -> None:
    assert secrets.text(text) == (text, ())


def test_many_in_one_text(secrets: Redactor) -> None:
    text, labels = secrets.text("a@x.org, b@x.org and 4111111111111111; " + SECRETS["github"][0])
    assert text == "[email], [email] and [card number]; [api key]"
    assert redact.summary(redact.count(labels)) == "Redacted: 2 email, 1 card number, 1 api key."


@pytest.mark.skipif(not LOCOMO.exists(), reason="the conversations of LoCoMo are not here")
def test_almost_nothing_of_a_conversation_goes(secrets: Redactor) -> None:
    turns: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            turns.extend(text for text in [value.get("text")] if isinstance(text, str))
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(json.loads(gzip.decompress(LOCOMO.read_bytes())))
    changed = [turn for turn in turns if secrets.text(turn)[1]]
    assert len(turns) > 2000
    assert changed == []


@given(st.text(max_size=200))
def test_what_it_does_to_any_text(secrets: Redactor, text: str) -> None:
    changed, labels = secrets.text(text)
    assert (changed == text) == (labels == ())
    assert sum(changed.count(f"[{label}]") for label in set(labels)) >= len(labels)


@pytest.mark.timeout(60)  # a rule that goes back and forth would take hours
@pytest.mark.parametrize("part", ["a", "1 ", "a@", "a.", "://a:", "password ", "Bearer "])
def test_no_text_takes_for_ever(secrets: Redactor, part: str) -> None:
    text = part * 50_000
    assert secrets.text(text) == (text, ())


def test_no_way_in_lets_a_secret_through(secrets: Redactor, tmp_path: Path, open_memory: Open) -> None:
    key, card, mail = SECRETS["github"][0], "4111 1111 1111 1111", "anna@example.com"
    memory = open_memory(tmp_path / "m.db", redact="secrets")
    [added] = memory.add(
        f"Mine is {key}", user_id="anna", metadata={"to": [mail], mail: {"n": 1}}, reason=f"from {mail}"
    )
    assert added.redacted == ("api key", "email", "email")
    trace = memory.get(added.id)
    assert (trace.text, trace.metadata) == ("Mine is [api key]", {"to": ["[email]"], "[email]": {"n": 1}})
    assert [one.redacted for one in memory.add_many([f"Pay with {card}", "I like tea."])] == [("card number",), ()]
    changed = memory.update(added.id, text=f"Now it is {card}", metadata={"from": mail}, reason=key)
    assert (changed.text, changed.metadata) == ("Now it is [card number]", {"from": "[email]"})
    memory.undo(memory.archive(added.id, reason=key), reason=card)
    chat = [json.dumps({"role": "user", "content": f"Write to {mail}", "card": card})]
    report = memory.import_lines(chat, user_id="ben")
    assert report.redacted == {"email": 1, "card number": 1}
    assert "Redacted: 1 email, 1 card number." in str(report)
    plain = open_memory(tmp_path.parent / f"{tmp_path.name}.db")
    plain.add([{"text": f"My key: {key}", "metadata": {"mail": mail}}, {"text": "I like cheese."}], user_id="cleo")
    report = memory.import_lines(plain.export())
    assert report.redacted == {"api key": 1, "email": 1}
    assert memory.import_lines(plain.export()).added == 0
    memory.forget(user_id="ben", everything=True, reason=key)
    assert memory.doctor().healthy
    memory.backup(tmp_path / "copy.db")
    (tmp_path / "out.jsonl").write_text("\n".join(memory.export()))
    assert left_in(tmp_path, key, card, mail) == []
    memory.close()
    assert left_in(tmp_path, key, card, mail) == []


def test_a_vector_of_what_was_taken_out_is_not_kept(open_memory: Open, remover: Callable[[str], str]) -> None:
    given_vector = np.zeros(256, np.float32)
    given_vector[3] = 1.0
    memory = open_memory(redact=remover)
    kept, changed = memory.add_many(
        [{"text": "tea", "vector": given_vector}, {"text": "It is swordfish.", "vector": given_vector}]
    )
    vectors = memory.engine.store.vectors([kept.id, changed.id])
    assert np.array_equal(vectors[kept.id][0], given_vector)
    assert np.allclose(vectors[changed.id], memory.engine.embed(["It is [password]."])[0], atol=1e-3)


@pytest.mark.parametrize("system", ["memorybank", "think-in-memory"])
def test_systems_have_the_same_door(
    system: str, tmp_path: Path, open_memory: Open, remover: Callable[[str], str]
) -> None:
    memory = open_memory(tmp_path / "m.db", system=system, redact=remover)
    said = "I like the word swordfish."
    [added] = memory.add({"role": "user", "content": said}, user_id="anna", metadata={"note": "swordfish"})
    assert added.redacted == ("redacted", "redacted")
    inner: Any = memory.system
    if system == "memorybank":
        inner.append(Space.of("anna"), "What is it?", "It is swordfish.", "2024-05-01")
        memory.add("I live in Oslo.", user_id="anna")
        document = json.loads(json.dumps(inner.export_json(Space.of("anna"))).replace("[password]", "swordfish"))
        document["anna"]["overall_history"] = "They spoke of swordfish."
        inner.import_json({"ben": {**document["anna"], "name": "ben"}})
    else:
        from halflife.agent.thoughts import Thought

        inner.insert(Space.of("anna"), [Thought("The user", "likes", ("swordfish",), wording="Likes swordfish.")])
    memory.consolidate(user_id="anna")
    assert memory.search("word", user_id="anna")
    memory.close()
    assert left_in(tmp_path, "swordfish") == []


def test_a_rule_that_gives_no_text_is_refused_and_nothing_is_kept(open_memory: Open) -> None:
    memory = open_memory(redact=lambda text: None)
    with pytest.raises(InvalidInput, match="returned NoneType"):
        memory.add("I like tea.")
    assert memory.stats()["traces"]["total"] == 0
    emptying = open_memory(redact=lambda text: "")
    with pytest.raises(InvalidInput, match="empty"):
        emptying.add("I like tea.")


def test_there_is_no_such_preset(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="redact='secrets'"):
        Memory(tmp_path / "m.db", embedder="hash", redact="everything")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("kingfisher_sdk"):
            raise ImportError(name)
        return real(name, *args, **options)

    fresh = redact.cache(redact._scanner.__wrapped__)
    monkeypatch.setattr(redact, "_scanner", fresh)
    monkeypatch.setattr(builtins, "__import__", without)


@pytest.mark.usefixtures("without_library")
def test_a_missing_library_says_which_extra(tmp_path: Path) -> None:
    with pytest.raises(MissingExtra, match=r"halflife\[redact\]"):
        Memory(tmp_path / "m.db", embedder="hash", redact="secrets")
    assert list(tmp_path.iterdir()) == []
    Memory(embedder="hash", redact=str.upper).close()  # a rule of one's own needs none


def test_the_command_line(
    secrets: Redactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HALFLIFE_EMBEDDER", "hash")
    mail = "anna@example.com"
    assert main(["add", f"Write to {mail}", "--meta", f"cc={mail}", "--redact"]) == 0
    assert "Redacted: 2 email." in capsys.readouterr().out
    assert main(["add", f"Or to {mail} then", "--redact", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["redacted"] == {"email": 1}
    chat = tmp_path.parent / f"{tmp_path.name}.jsonl"
    chat.write_text(json.dumps({"role": "user", "content": f"I am {mail}"}))
    assert main(["import", str(chat), "--redact"]) == 0
    assert "Redacted: 1 email." in capsys.readouterr().out
    assert left_in(tmp_path, mail) == []
