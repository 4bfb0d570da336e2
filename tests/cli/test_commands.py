"""What each command does, and what it says in JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

NOW = ("--now", "2026-07-08")


def test_a_text_is_remembered_and_found_with_its_fields(run: Run) -> None:
    added = run(
        "add", "The invoice is 412.", "--user", "anna", "--session", "s1", "--role", "user",
        "--at", "2026-05-20T18:30Z", "--meta", "channel=mail", "--meta", "amount:=412",
        "--importance", "0.9", "--layer", "long", "--json",
    ).one  # fmt: skip
    [hit] = run("search", "invoice", "--user", "anna", "--json").lines
    assert hit["id"] == added["id"]
    assert (hit["at"], hit["session_id"], hit["role"]) == ("2026-05-20T18:30:00Z", "s1", "user")
    assert hit["metadata"] == {"channel": "mail", "amount": 412}
    shown = run("show", added["id"], "--json").one
    assert (shown["importance"], shown["layer"]) == (0.9, "long")


def test_what_was_said_before_is_met_again(run: Run, anna: list[str]) -> None:
    again = run("add", "I am allergic to nuts.", "--user", "anna", "--json").one
    assert again == {"id": anna[2], "event": "met"}


@pytest.mark.parametrize("args", [("add", "--user", "anna"), ("add", "-", "--user", "anna")])
def test_add_reads_stdin(run: Run, args: tuple[str, ...]) -> None:
    run(*args, stdin="\ufeffTwo lines\nof text\n")
    [trace] = run("list", "--user", "anna", "--json").lines
    assert trace["text"] == "Two lines\nof text"


def test_search_ranks_and_explains(run: Run, anna: list[str]) -> None:
    hits = run("search", "Who plays the cello?", "--user", "anna", "-k", "2", "--json", *NOW).lines
    assert hits[0]["id"] == anna[1]
    assert len(hits) <= 2
    parts = hits[0]["explain"]
    assert sum(parts["parts"].values()) == pytest.approx(parts["relevance"])
    text = run("search", "Who plays the cello?", "--user", "anna", "--explain", *NOW).out
    assert "relevance" in text
    assert anna[1] in text


def test_search_keeps_to_the_time_and_the_filter(run: Run, anna: list[str]) -> None:
    since = run("search", "I", "--user", "anna", "--since", "2026-06-15", "--json", *NOW).lines
    assert {hit["id"] for hit in since} <= {anna[2]}
    until = run("list", "--user", "anna", "--until", "2026-06-01", "--json").lines
    assert [trace["id"] for trace in until] == [anna[0]]
    filtered = run("list", "--user", "anna", "--filter", '{"text": {"contains": "Rosa"}}', "--json").lines
    assert [trace["id"] for trace in filtered] == [anna[1]]


def test_a_search_reinforces_unless_told_not_to(run: Run, anna: list[str]) -> None:
    run("search", "cello", "--user", "anna", "-k", "1", "--no-reinforce")
    assert run("show", anna[1], "--json").one["uses"] == 1
    run("search", "cello", "--user", "anna", "-k", "1")
    assert run("show", anna[1], "--json").one["uses"] == 2


def test_context_fits_its_budget(run: Run, anna: list[str]) -> None:
    packed = run("context", "nuts and the cello", "--user", "anna", "--budget", "12", "--json").one
    assert packed["tokens"] <= 12
    whole = run("context", "nuts and the cello", "--user", "anna", "--json").one
    assert whole["text"] in run("context", "nuts and the cello", "--user", "anna").out


def test_archive_and_undo(run: Run, anna: list[str]) -> None:
    done = run("archive", anna[0], "--json").one
    assert not run("search", "Lisbon", "--user", "anna", "--json", "--filter", '{"text": {"contains": "Lisbon"}}').lines
    assert run("search", "Lisbon", "--user", "anna", "--archived", "--json").lines[0]["id"] == anna[0]
    run("undo", str(done["operation"]))
    assert run("show", anna[0], "--json").one["status"] == "active"
    assert run("undo", str(done["operation"])).code == 3
    kinds = [event["kind"] for event in run("history", "--user", "anna", "--json").lines]
    assert kinds[:2] == ["undo", "archive"]
    assert [event["kind"] for event in run("history", anna[0], "--json").lines][:1] == ["add"]


def test_forget_shows_first_and_erases_only_with_yes(run: Run, anna: list[str]) -> None:
    plan = run("forget", "--user", "anna", "--about", "Lisbon")
    assert plan.code == 0
    assert "repeat with --yes" in plan.out
    planned = run("forget", "--user", "anna", "--about", "Lisbon", "--json").one
    assert (planned["erased"], [item["id"] for item in planned["would_forget"]]) == (False, [anna[0]])
    assert len(run("list", "--user", "anna", "--json").lines) == 3
    report = run("forget", "--user", "anna", "--about", "Lisbon", "--yes", "--json").one
    assert (report["erased"], report["verified"], report["ids"]) == (True, True, [anna[0]])
    assert b"Lisbon" not in Path("halflife.db").read_bytes()
    assert run("show", anna[0]).code == 3


def test_forget_by_id_by_filter_and_everything(run: Run, anna: list[str]) -> None:
    assert run("forget", anna[0], "--yes", "--json").one["count"] == 1
    assert (
        run("forget", "--user", "anna", "--filter", '{"text": {"contains": "Rosa"}}', "--yes", "--json").one["count"]
        == 1
    )
    assert run("forget", "--user", "anna", "--everything", "--yes", "--json").one["ids"] == [anna[2]]
    nothing = run("forget", "--user", "anna", "--everything", "--yes", "--json").one
    assert (nothing["erased"], nothing["count"]) == (False, 0)


def test_an_erasure_that_cannot_be_verified_has_its_own_exit_code(
    run: Run, anna: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from halflife.store import erase

    monkeypatch.setattr(erase, "_empty_log", lambda store: "another process is reading the store")
    found = run("forget", anna[0], "--yes", "--json")
    assert found.code == 6
    assert found.one["verified"] is False


def test_consolidate_says_what_it_would_do_and_does_it(run: Run, anna: list[str]) -> None:
    later = ("--now", "2036-01-01", "--json")
    assert len(run("consolidate", "--dry-run", *later).one["archived"]) == 3
    assert run("list", "--user", "anna", "--filter", '{"status": "archived"}', "--json").lines == []
    assert len(run("consolidate", "--user", "anna", *later).one["archived"]) == 3
    assert run("consolidate", "--archive-below", "0.0", *later).one["archived"] == []


def test_export_and_import_restore_everything(run: Run, anna: list[str]) -> None:
    assert run("export", "all.jsonl", "--json").one["lines"] >= 4
    report = run("import", "all.jsonl", "--db", "other.db", "--json").one
    assert report["added"] == 3
    mine, theirs = (run("list", "--user", "anna", "--db", db, "--json").lines for db in ("halflife.db", "other.db"))
    assert [trace["id"] for trace in mine] == [trace["id"] for trace in theirs]
    assert run("import", "all.jsonl", "--db", "other.db", "--json").one["added"] == 0


def test_export_to_stdout_is_what_import_reads_from_stdin(run: Run, anna: list[str]) -> None:
    text = run("export", "-", "--user", "anna", "--no-vectors").out
    assert all(json.loads(line) for line in text.splitlines())
    assert run("import", "-", "--db", "other.db", "--json", stdin=text).one["added"] == 3


def test_a_chat_log_is_imported_for_a_user(run: Run) -> None:
    messages = [{"role": "user", "content": "I like figs."}, {"role": "assistant", "content": "Noted."}]
    Path("chat.jsonl").write_text("\n".join(map(json.dumps, messages)), encoding="utf-8")
    assert run("import", "chat.jsonl", "--user", "anna", "--json").one["added"] == 2


def test_an_export_that_fails_leaves_the_old_file(run: Run, anna: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from halflife.agent import transfer

    Path("all.jsonl").write_text("old", encoding="utf-8")

    def broken(*_: object) -> object:
        yield "first"
        raise KeyboardInterrupt

    monkeypatch.setattr(transfer, "export_lines", broken)
    assert run("export", "all.jsonl").code == 130
    assert Path("all.jsonl").read_text(encoding="utf-8") == "old"
    assert [path.name for path in Path().glob("*.jsonl*")] == ["all.jsonl"]
    assert not list(Path().glob(".all*"))


def test_backup_is_a_memory_and_never_overwrites(run: Run, anna: list[str]) -> None:
    assert run("backup", "copy.db", "--json").one["bytes"] > 0
    assert len(run("list", "--user", "anna", "--db", "copy.db", "--json").lines) == 3
    assert run("backup", "copy.db").code == 4


def test_reembed_changes_the_embedder_that_is_then_used(
    run: Run, anna: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("reembed", "--embedder", "hash:64", "--json").one == {"count": 3, "embedder": "hash-1/64"}
    monkeypatch.delenv("HALFLIFE_EMBEDDER")
    assert run("search", "cello", "--user", "anna", "--json").lines[0]["id"] == anna[1]
    assert run("search", "cello", "--user", "anna", "--embedder", "hash:32").code == 4


def test_what_needs_no_vectors_needs_no_embedder(run: Run, anna: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFLIFE_EMBEDDER", "minilm")
    monkeypatch.setenv("HALFLIFE_MODEL", "/nowhere")
    for command in (
        ("list", "--user", "anna"),
        ("show", anna[0]),
        ("stats",),
        ("history",),
        ("export", "-"),
        ("doctor",),
    ):
        assert run(*command).code == 0, command
    assert run("forget", anna[0], "--yes").code == 0
    assert run("add", "x", "--db", "new.db").code == 5


def test_stats_and_doctor(run: Run, anna: list[str]) -> None:
    assert run("stats", "--json").one["traces"]["total"] == 3
    assert "user:anna" in run("stats").out
    found = run("doctor", "--json")
    assert (found.code, found.one["healthy"]) == (0, True)


def test_papers_and_reproduce(run: Run) -> None:
    assert len(run("papers", "--json").lines) == 65
    assert "memorybank" in run("papers", "--kind", "agent memory").out
    assert run("papers", "--kind", "nonsense").code == 2
    assert run("reproduce", "nonsense").code == 2


def test_reproduce_writes_its_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from halflife.papers import Claim, Report, Table, paper
    from halflife.papers import run as papers_run

    def reproduction(size: str, seed: int, progress: object) -> Report:
        table = Table("Recall", ("n",), ((1,),))
        return Report(paper(19), size, [seed], "It lasts.", "As told.", [table], [Claim("it holds", 1.0, 0.5)])

    monkeypatch.setattr(papers_run, "load", lambda entry: reproduction)
    result = run("reproduce", "19", "--size", "smoke", "--seed", "7", "--out", "reports", "--json").one
    assert (result["slug"], result["seeds"]) == ("memorybank", [7])
    assert Path("reports/19-memorybank/smoke/report.md").is_file()
    assert "1 of 1 claims held" in run("reproduce", "memorybank", "--size", "smoke", "--out", "reports").out


def test_models_path_names_a_folder_or_says_what_to_do(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFLIFE_MODEL", "/nowhere")
    missing = run("models", "path")
    assert missing.code == 5
    assert "halflife models fetch" in missing.err
