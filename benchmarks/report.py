"""The tables of a run, and whether it meets what the project promises."""

from __future__ import annotations

from typing import Any

COLUMNS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("adds/s", ("add_per_s",), "{:,.0f}"),
    ("batched/s", ("batch_per_s",), "{:,.0f}"),
    ("fill/s", ("fill_per_s",), "{:,.0f}"),
    ("vector p50 / p95 / p99 ms", ("vector_p50_ms", "vector_p95_ms", "vector_p99_ms"), "{:.2f}"),
    ("p50 after adds ms", ("vector_p50_after_adds_ms",), "{:.2f}"),
    ("recall@10", ("vector_recall",), "{:.3f}"),
    ("hybrid p50 / p95 / p99 ms", ("hybrid_p50_ms", "hybrid_p95_ms", "hybrid_p99_ms"), "{:.2f}"),
    ("cue found", ("cue_hit",), "{:.3f}"),
    ("cold start s", ("cold_s",), "{:.2f}"),
    ("reopen s", ("reopen_s",), "{:.2f}"),
    ("bytes/memory", ("bytes_per_memory",), "{:,.0f}"),
    ("serving MiB", ("serving_mib",), "{:,.0f}"),
)

# What is promised: the measure, the peer, the least ratio, the size at which it holds (None: every size).
PROMISES = (
    ("durable single add", "add_per_s", "mem0", 5.0, None),
    ("batched add", "batch_per_s", "mem0", 100.0, None),
    ("vector search p50", "vector_p50_ms", "chroma", 2.0, 100_000),
    ("hybrid search p50", "hybrid_p50_ms", "mem0", 5.0, 100_000),
)


def markdown(result: dict[str, Any]) -> str:
    machine, plan = result["machine"], result["plan"]
    lines = [
        f"Measured {result['date']} on {machine['cores']} cores of {machine['cpu']},"
        f" {machine['memory_gib']} GiB, Python {machine['python']}; a 4 KiB append with fsync takes"
        f" {machine['fsync_ms']:.2f} ms.",
        f"Texts: {plan['texts']}. Vectors: {plan['vectors']}, 384 dimensions.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in result["versions"].items()) + ".",
    ]
    for size, systems in result["sizes"].items():
        lines += ["", f"### {int(size):,} memories", "", *_table(systems)]
        lines += [f"- {name}: failed: {row['failed']}" for name, row in systems.items() if "failed" in row]
    lines += ["", "### Ratios", "", *_ratios(result["sizes"]), "", "### Set-ups", ""]
    lines += [f"- **{name}**: {setup}" for name, setup in result["setups"].items()]
    return "\n".join(lines) + "\n"


def _table(systems: dict[str, dict[str, Any]]) -> list[str]:
    head = "| system | " + " | ".join(title for title, *_ in COLUMNS) + " |"
    rule = "|---|" + "---:|" * len(COLUMNS)
    return [head, rule, *(f"| {name} | " + " | ".join(_cells(row)) + " |" for name, row in systems.items())]


def _cells(row: dict[str, Any]) -> list[str]:
    cells = []
    for _, keys, form in COLUMNS:
        known = all(key in row for key in keys)
        cells.append(" / ".join(form.format(row[key]) for key in keys) if known else "–")
    return cells


def _ratios(sizes: dict[str, dict[str, dict[str, Any]]]) -> list[str]:
    """Halflife against each peer: how many times as fast, and whether that is what is promised."""
    rows = [
        "| size | measure | against | times as fast | promised | recall@10, ours / theirs |",
        "|---:|---|---|---:|---:|---:|",
    ]
    for size, systems in sizes.items():
        ours = systems.get("halflife", {})
        for title, key, promised_peer, least, at in PROMISES:
            for peer, theirs in systems.items():
                if peer in ("halflife", "numpy") or key not in ours or key not in theirs:
                    continue
                faster = ours[key] / theirs[key] if key.endswith("per_s") else theirs[key] / ours[key]
                binding = peer == promised_peer and at in (None, int(size))
                promise = f"{least:g} ({'met' if faster >= least else 'not met'})" if binding else ""
                recalls = " / ".join(f"{row['vector_recall']:.3f}" for row in (ours, theirs))
                recalls = recalls if "search" in title else ""
                rows.append(f"| {int(size):,} | {title} | {peer} | {faster:,.1f} | {promise} | {recalls} |")
    return rows
