"""search: planted segments are found, and similarities are those of a plain computation."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import soundfile

import minast
from minast.embeddings import index as indexes
from minast.embeddings.nearest import loudest, most_similar, segment_at
from minast.features import log_mel, model_inputs
from minast.streaming.sound import OpenSound
from tests.embeddings.made import make

RATE = 16000


@pytest.fixture(scope="module")
def planted(tones, tmp_path_factory):
    """An index of four long recordings of low noise, in two of which high noise is planted.   -> folder"""
    folder, rng = tmp_path_factory.mktemp("planted"), np.random.default_rng(5)
    for i in range(4):
        parts = [soundfile.read(tones / "low" / f"{rng.integers(10)}.wav")[0] for _ in range(12)]
        x = np.concatenate(parts)  # 6 s
        if i in (1, 3):
            at = round((1.92 if i == 1 else 3.84) * RATE)  # where a segment begins
            x[at : at + 8000] = soundfile.read(tones / "high" / f"{i}.wav")[0]
        soundfile.write(folder / f"{i}.wav", x, RATE)
    return folder


@pytest.fixture
def index(trained, planted, tmp_path, command):
    shutil.copy(trained / "best.npz", tmp_path / "model.npz")
    assert command("embed", tmp_path / "model.npz", planted, "--out", tmp_path / "index")[0] == 0
    return tmp_path / "index"


def test_planted_segments_come_first(index, tones, planted, tmp_path, command):
    query = tones / "high" / "7.wav"
    status, said, err = command("search", query, index, "--top", 2)
    assert (status, err) == (0, "")
    first, *rows = said.splitlines()
    assert first == f"{query}: the segment from 0.00 to 0.48 s is looked for"
    assert {(row.split()[-1], row.split()[1], row.split()[3]) for row in rows} == {
        (str(planted / "1.wav"), "1.92", "2.40"),
        (str(planted / "3.wav"), "3.84", "4.32"),
    }
    status, said, _ = command("search", query, tones / "low" / "2.wav", index, "--top", 3, "--json")
    results = json.loads(said)
    assert [len(result["found"]) for result in results] == [3, 3] and list(results[0]) == [
        "query",
        "start",
        "end",
        "found",
    ]
    status, said, _ = command("search", query, index, "--top", 2, "--out", tmp_path / "found.csv")
    with open(tmp_path / "found.csv", newline="") as f:
        table = list(csv.DictReader(f))
    assert status == 0 and f"{tmp_path}/found.csv: 2 segments, of 52 in {index}" in said
    wanted = [{k: str(v) for k, v in row.items()} for row in results[0]["found"][:2]]
    assert table == [{"label": "", "verdict": "", "query": str(query), **row} for row in wanted]
    assert list(table[0])[:5] == ["file", "start", "end", "label", "verdict"]  # as labels.csv of a page begins


def test_similarities_are_those_of_the_model(index, tones, command):
    query = tones / "middle" / "1.wav"
    _, said, _ = command("search", query, index, "--top", 52, "--json")
    model, info = minast.load(index.parent / "model.npz")

    def embedded(path, start):
        wave = soundfile.read(path, dtype="float32")[0][round(start * RATE) :]
        return model.embed(model_inputs(log_mel(wave), info.features)[:1])[0].astype(np.float64)

    q = embedded(query, 0.0)
    (result,) = json.loads(said)
    assert len(result["found"]) == 52
    for row in result["found"][::7]:
        e = embedded(row["file"], row["start"])
        assert row["similarity"] == pytest.approx(q @ e / np.sqrt(q @ q * (e @ e)), abs=2e-3)  # 16 bits


@pytest.mark.parametrize(("top", "rows"), [(1, 40), (7, 40), (100, 40), (5, 1)])
def test_exactly_what_numpy_computes(tmp_path, monkeypatch, top, rows):
    monkeypatch.setattr(indexes, "SHARD", 2 * 6 * 11)
    monkeypatch.setattr(indexes, "BLOCK", 4)
    rng = np.random.default_rng(rows + top)
    e = rng.standard_normal((rows, 6)).astype(np.float16)
    e[:: 9 if rows > 1 else 2] = e[0]  # equal ones
    e[-1] = 0 if rows > 1 else e[-1]
    files = {"a.wav": e[: rows // 2 + 1], "b.wav": e[rows // 2 + 1 :]} if rows > 1 else {"a.wav": e}
    made, queries = make(tmp_path / "index", files), rng.standard_normal((3, 6))
    found, similar = most_similar(made, queries, top)
    exact = e.astype(np.float64)
    lengths = np.linalg.norm(queries, axis=1)[:, None] * np.linalg.norm(exact, axis=1)
    cosine = np.divide(queries @ exact.T, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    order = np.argsort(-np.round(cosine, 12), axis=1, kind="stable")[:, :top]
    assert np.array_equal(found, order)
    np.testing.assert_allclose(similar, np.take_along_axis(cosine, order, 1), atol=1e-12)


# -- queries ---------------------------------------------------------------------------------------------------------


def test_the_loudest_segment_is_taken(trained, tones, planted):
    _, info = minast.load(trained / "best.npz")
    x = np.zeros(3 * RATE) + 1e-4 * np.random.default_rng(0).standard_normal(3 * RATE)
    x[17000:24000] += soundfile.read(tones / "low" / "0.wav")[0][:7000]
    found = loudest(OpenSound(x.astype(np.float32), info.features))
    assert found.start == pytest.approx(0.96) and found.end == pytest.approx(1.44)
    long = OpenSound(planted / "1.wav", info.features)
    begun = next(segment for segment in long.timed_segments(24) if segment.start == pytest.approx(1.2))
    found = segment_at(long, 1.2)
    assert np.array_equal(found.x, begun.x) and (found.start, found.end) == pytest.approx((1.2, 1.68))
    assert segment_at(long, 7.0) is None and segment_at(long, 5.9).end == pytest.approx(6.0)


def test_a_query_that_cannot_be_read_costs_no_other(index, tones, tmp_path, command):
    (tmp_path / "bad.wav").write_text("no sound")
    status, said, err = command("search", tmp_path / "bad.wav", tones / "low" / "0.wav", index)
    assert status == 2 and "bad.wav: this cannot be decoded" in err and "low/0.wav: the segment" in said
    status, _, err = command("search", tones / "low" / "0.wav", index, "--at", 3)
    assert (
        status == 2 and "--at is 3 s, but the recording has 0.500 s" in err and "none of the queries can be read" in err
    )


# -- the checkpoint --------------------------------------------------------------------------------------------------


def test_the_checkpoint_must_be_the_same(index, tones, tmp_path, command):
    query, model_path = tones / "low" / "0.wav", tmp_path / "model.npz"
    wanted = command("search", query, index)[1]
    model, info = minast.load(model_path)
    minast.save(model_path, model, ["x", "y", "z"], info.features, "bce")  # another head: the same embeddings
    assert command("search", query, index)[:2] == (0, wanted)
    os.rename(model_path, tmp_path / "moved.npz")
    status, _, err = command("search", query, index)
    assert status == 2 and f"was made with {model_path}, which is not there any more: say by --checkpoint" in err
    assert command("search", query, index, "--checkpoint", tmp_path / "moved.npz")[:2] == (0, wanted)
    model.w["patch_embed.proj.bias"][0] += 1
    minast.save(model_path, model, info.labels, info.features)
    status, _, err = command("search", query, index)
    assert status == 2 and "as it was then, which has been changed since. Embeddings of different models cannot" in err
    status, _, err = command("search", query, index, "--checkpoint", model_path)
    assert status == 2 and "does not fit the index" in err and err.count("\n") == 1


def test_moved_recordings_are_found_all_the_same(trained, tones, tmp_path, command):
    shutil.copytree(tones / "low", tmp_path / "low")
    command("embed", trained / "best.npz", tmp_path / "low", "--out", tmp_path / "index")
    shutil.rmtree(tmp_path / "low")
    status, said, _ = command("search", tones / "low" / "3.wav", tmp_path / "index", "--top", 1)
    assert status == 0 and said.splitlines()[1].split()[0] == "1.0000" and said.strip().endswith("low/3.wav")
