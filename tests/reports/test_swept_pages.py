"""Sections of sweeps, curves and the map on a page: their numbers stand there, and names of others stay text."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.feature_caches import feature_cache
from helpers.made_sweeps import HOSTILE, MadePhotos, entry, line, material, summary

from featcache.core.display import escaped
from featcache.reports.sections import axes, cost, curves, feature_map, few_shot, leaderboard

pytest.importorskip("jinja2", reason="jinja2, the extra `report`, is not installed")


class Read(HTMLParser):
    """Elements and texts of a page; texts of scripts and styles are not shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.shown, self.data = "", ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.data += data
        elif not self.open or self.open[-1] != "style":
            self.shown += data


def page(sections):
    from featcache.pages.page import render

    own = [replace(one, template=f"sections/{one.template.rpartition('/')[2]}") for one in sections]
    return render(
        "page.html", packages=("featcache.reports",), title="made", headline="made", sections=own, sheets=[]
    )


def swept(names):
    """Return a sweep whose class weights are named by these names, over two numbers of shots."""
    lines = [
        line("linear", {"class_weights": name}, 0.5 + 0.01 * number, seed=seed, shots=shots)
        for number, name in enumerate(names)
        for shots in (1, None)
        for seed in (0, 1)
    ]
    board = [
        entry("linear", {"class_weights": name}, 0.5 + 0.01 * n) for n, name in reversed([*enumerate(names)])
    ]
    return {"sweep": summary(board, board[0]), "lines": tuple(lines)}


@pytest.mark.parametrize("maker", [leaderboard.section, axes.section])
def test_hostile_names_of_a_sweep_are_text(maker):
    found = maker(material(**swept(HOSTILE)))
    read = Read(page([found]))
    usual = Read(page([maker(material(**swept(["a", "b", "c", "d", "e", "f"])))]))
    # Long names have their whole text in a title; nothing else is there that is not there for plain names.
    assert {tag for tag, _ in read.elements} - {"title"} == {tag for tag, _ in usual.elements} - {"title"}
    assert [tag for tag, _ in read.elements].count("script") == 1
    for name in HOSTILE[:5]:
        assert escaped(name) in read.shown


def test_numbers_of_a_sweep_stand_on_the_page():
    content = material(**swept(["a", "b"]))
    read = Read(page([one for maker in (leaderboard, axes, few_shot) if (one := maker.section(content))]))
    for text in ("Chosen: linear, class weights b, validation 51.0 %", "50.0 %", "51.0 % (51.0–51.0 %)"):
        assert text in read.shown


def test_every_epoch_stands_on_the_page():
    records = tuple(
        {"epoch": n, "loss": 1 / n, "val_loss": 2 / n, "val_accuracy": 1 - 0.5 / n} for n in range(1, 8)
    )
    read = Read(page([curves.section(material(history=records, run={"identity": {}, "finished": None}))]))
    for record in records:
        for text in (
            f"{record['loss']:.4f}",
            f"{record['val_loss']:.4f}",
            f"{100 * record['val_accuracy']:.1f} %",
        ):
            assert text in read.shown


@pytest.fixture
def mapped(tmp_path):
    features = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    names = (*HOSTILE[:5], "<!--<script>")
    cache = feature_cache(tmp_path / "a.h5", features, [*range(6)] * 2, ["train"] * 12, classes=names)
    values = np.eye(6)[[1, *range(1, 6), *range(6)]]
    return material(
        cache=cache,
        rows=np.arange(12),
        values=values,
        labels=cache.labels,
        sprites=MadePhotos(),
        split="train",
    )


def test_the_map_is_on_the_page_with_hostile_names(mapped):
    found = feature_map.section(mapped)
    read = Read(page([found]))
    inline, _ = json.JSONDecoder().raw_decode(read.data.strip())
    assert inline == found.content["packed"]
    for name in mapped.cache.classes:
        assert escaped(name) in read.shown
    (still,) = (own for tag, own in read.elements if tag == "img")
    assert still["src"] == found.content["still"]
    assert still["alt"]
    assert [own.get("onerror") for _, own in read.elements if own.get("onerror")] == []
    (canvas,) = (own for tag, own in read.elements if tag == "canvas")
    assert "hidden" in canvas  # until a script draws on it
    assert "A cross marks 1 mistake of the classifier." in read.shown


def test_costs_stand_on_the_page():
    from featcache.backbones.registry import pretrained_weights

    known = sorted(pretrained_weights().values(), key=lambda own: own.macs)
    tried = {known[0].name: 0.8, known[-1].name: 0.9, "<b>my.custom": 0.7}
    lines = tuple(
        line("ridge", {}, score, backbone=name, cache=f"/gone/{name}") for name, score in tried.items()
    )
    read = Read(page([cost.section(material(sweep={"task": "classes", "chosen": None}, lines=lines))]))
    for own in (known[0], known[-1]):
        assert own.name in read.shown
        assert f"{own.macs / 1e6:,.0f}" in read.shown
    assert "The cost of <b>my.custom is not known" in read.shown
