"""Kinds of stored values: what each takes, as what it keeps it, and the sentence for everything else."""

import re
from dataclasses import asdict, fields

import numpy as np
import pytest

import minast
from minast import config
from minast.config import FeatureConfig, ModelConfig, TrainConfig
from minast.storage.schema import (
    Flag,
    ListOf,
    Maybe,
    Number,
    OneOf,
    Plain,
    Real,
    Record,
    Several,
    Text,
    Whole,
    as_json,
    checked,
    checked_floats,
)

DEEP = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("kind", "value", "kept"),
    [
        (Whole(0, 100), 96.0, 96),
        (Whole(0, 100), np.int16(7), 7),
        (Whole(0, 100), np.float32(7), 7),
        (Number(0, 1), 1, 1.0),
        (Number(), np.float32(0.5), 0.5),
        (Flag(), np.True_, True),
        (Text(3), "é é", "é é"),
        (Text(3, plain=False), "", ""),
        (OneOf(("a", None)), None, None),
        (Maybe(Whole(0, 1)), None, None),
        (ListOf(Whole(0, 9), 3), (1, 2.0), [1, 2]),
        (Several((Number(), Whole(0, 9))), [1, 2.0], (1.0, 2)),
        (Record({"a": Whole(0, 9)}, others=True), {"a": 3.0, "b": None}, {"a": 3, "b": None}),
    ],
)
def test_what_is_taken_is_kept_as_its_type(kind, value, kept):
    got = checked(kind, value, "x")
    assert got == kept and type(got) is type(kept)


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        (Whole(0, 100), True, "x is True: it must be a whole number from 0 to 100."),
        (Whole(0, 100), 0.5, "x is 0.5: it must be"),
        (Whole(0, 100), float("nan"), "x is nan: it must be"),
        (Whole(0, 100), float("inf"), "x is inf: it must be"),
        pytest.param(Whole(0, 100), 10**5000, "x is an unreadable int: it must be", id="no text of it"),
        (Whole(0, 100), "7", "x is '7': it must be"),
        (Whole(0, 100), None, "x is None: it must be"),
        (Number(0, 1), False, "x is False: it must be a number of at least 0 and at most 1."),
        (Number(above=0), 0, "x is 0: it must be a number above 0."),
        (Number(), float("nan"), "x is nan: it must be a finite number."),
        pytest.param(Number(), 10**400, "it must be a finite number.", id="beyond all floats"),
        (Real(), "1", "x is '1': it must be a number."),
        (Flag(), 1, "x is 1: it must be true or false."),
        (Text(3), "abcd", "x is 'abcd': it must be a text of 1 to 3 characters"),
        (Text(3), " ", "x is ' ': it must be"),
        (Text(9), "a\x1b[31m", "none of them a control character."),
        (Text(9), "a\n", "none of them a control character."),
        (Text(9), "\udcff", "none of them a control character."),
        (Text(9), "a\u2028b", "none of them a control character."),
        (Text(9, plain=False), "a\0", "it must be a text of 0 to 9 characters."),
        (OneOf(("a", "b")), None, "x is None: it must be one of a, b."),
        (OneOf(("a", "b")), ["a"], "x is ['a']: it must be one of a, b."),
        (ListOf(Whole(0, 9), 3), [1, 2, "3"], "x[2] is '3': it must be a whole number from 0 to 9."),
        (ListOf(Whole(0, 9), 3), [1] * 4, "it must be a list of at most 3."),
        (ListOf(Whole(0, 9), 3), [0] * 5000, "x is a list of 5000: it must be"),
        (ListOf(Text(9), 3, distinct=True), ["a", "b", "a"], "x has 'a' more than once."),
        (Several((Number(), Number())), [1], "x is [1]: it must be 2 values."),
        (Record({"a": Whole(0, 9)}), {}, "x.a is missing."),
        (Record({"a": Whole(0, 9)}), {"a": 1, "b": 1}, "x has a field 'b' that this version of minast does not know."),
        (Record({"a": Record({"b": Whole(0, 9)})}), {"a": {"b": -1}}, "x.a.b is -1: it must be"),
        (Record({}), [], "x is []: it must be an object with named fields."),
        (Record({}, others=True), {1: 2}, "it must be an object with named fields."),
        (Plain(), DEEP, "x is an unreadable list: it must be numbers, texts"),
        (Plain(), {"a": {3}}, "it must be numbers, texts"),
    ],
)
def test_what_does_not_fit_is_one_sentence(kind, value, sentence):
    with pytest.raises(minast.Error) as caught:
        checked(kind, value, "x")
    said = str(caught.value)
    assert sentence in said and "\n" not in said and "\x1b" not in said and len(said) < 400


def test_json_is_spelled_as_json():
    for value, shown in ((None, "null"), (True, "true"), ("a", '"a"'), (float("nan"), "NaN")):
        with pytest.raises(minast.Error, match=re.escape(f"x is {shown}: it must be")):
            checked(ListOf(Whole(0, 1), 1), value, "x", as_json)


@pytest.mark.parametrize("kind", ["i4", "?", "c8", "U3"])
def test_numbers_of_another_kind_are_no_weights(kind):
    with pytest.raises(minast.Error, match=r"x is .*: it must be of floating-point numbers"):
        checked_floats(np.ones(3, kind), "x")


def test_floats_are_finite_and_fit():
    large = np.full(300_000, 1.0)
    assert checked_floats(large, "x") is large
    for value, match in (
        (np.nan, "NaN or infinite"),
        (1e39, "too large for float32"),
        (-1e300, "too large for float32"),
    ):
        large[-1] = value
        with pytest.raises(minast.Error, match=match):
            checked_floats(large, "x")
    large[-1] = 1e39
    assert checked_floats(large, "x", np.float64) is large
    assert checked_floats(np.zeros((0, 3), np.float16), "x").size == 0


def test_a_depth_is_named_as_it_is():
    with pytest.raises(minast.Error, match="nested at most 2 deep"):
        checked(Plain(depth=2), [[[[]]]], "notes")


# -- the dataclasses of config.py ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [(FeatureConfig, config.FEATURES), (ModelConfig, config.MODEL), (TrainConfig, config.TRAINING)],
)
def test_every_field_is_bounded(kind, kinds):
    assert set(kinds) == {f.name for f in fields(kind)}
    for name in kinds:
        for value in ([], {}, float("nan"), float("inf"), -(10**30), 10**400, "\x1b[31m", b"x", object()):
            with pytest.raises(minast.Error, match=f"^{name}"):
                kind(**{name: value})


def test_whole_numbers_are_ints():
    c = ModelConfig(dim=96.0, heads=np.int64(3), frames=np.float32(128), classes=3)
    assert all(type(value) is int for name, value in asdict(c).items() if isinstance(config.MODEL[name], Whole))
    t = TrainConfig(epochs=2.0, betas=[0.5, 0.9], lr=1)
    assert (type(t.epochs), t.betas, type(t.lr)) == (int, (0.5, 0.9), float)


def test_claims_beyond_all_memory_are_refused():
    for changes in ({"depth": 10**7}, {"dim": 2**20}, {"classes": 10**9}, {"frames": 2**40}):
        with pytest.raises(minast.Error, match="it must be a whole number from"):
            ModelConfig(**changes)
    with pytest.raises(minast.Error, match="make 118487394 tokens: there can be at most 1048576"):
        ModelConfig(frames=2**20, fstride=1, tstride=1)
