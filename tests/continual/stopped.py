"""Runs that die in the middle, to see that they go on as if they had not."""

from __future__ import annotations

from halflife.continual.runner import Progress, _Training


class Stopped(Exception):
    """The process died here."""


def stop_at(share: float) -> Progress:
    """For `progress=`: the run dies when more than this share of it is done."""

    def tell(step: str, done: float) -> None:
        if done > share:
            raise Stopped

    return tell


def stop_after(monkeypatch, saves: int) -> None:
    """The next run dies right after it has saved so many times."""
    save, count = _Training._save, 0

    def once(self, *args):
        nonlocal count
        save(self, *args)
        count += 1
        if count == saves:
            monkeypatch.setattr(_Training, "_save", save)
            raise Stopped

    monkeypatch.setattr(_Training, "_save", once)
