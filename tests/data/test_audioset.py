"""AudioSet as it is published and as people keep it: tables with comments, names of files, clips that are gone."""

import json
import subprocess
import sys

import pytest

import minast
from minast.datasets import audioset_files, open_dataset

from .sounds import make, sound

HEAD = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=22160, num_segs=22160, num_unique_labels=527, num_positive_labels=52882
# YTID, start_seconds, end_seconds, positive_labels
"""
BALANCED = """--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/t/dd00088"
Y-0hnDcWyZg, 0.000, 10.000, "/m/09x0r"
a_b_c_d_e_1, 70.000, 80.000, "/m/04rlf"
"""
UNBALANCED = """Zz9zzzzzzz9, 30.500, 40.500, "/m/04rlf,/m/09x0r"
"""
EVAL = """-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/04rlf"
0123456789-, 0.000, 7.000, "/t/dd00088"
"""
CLASSES = """index,mid,display_name
0,/m/09x0r,"Speech"
2,/t/dd00088,"Gush"
1,/m/04rlf,"Music; any, at all"
3,/m/03v3yw,"Keys jangling"
"""
NAMES = ["--PJHxphWEs", "Y-0hnDcWyZg", "a_b_c_d_e_1", "Zz9zzzzzzz9", "-0RWZT-miFs", "0123456789-"]


@pytest.fixture
def tables(tmp_path):
    texts = {"balanced_train": BALANCED, "unbalanced_train": UNBALANCED, "eval": EVAL}
    for name, text in texts.items():
        (tmp_path / f"{name}_segments.csv").write_text(HEAD + text)
    (tmp_path / "class_labels_indices.csv").write_text(CLASSES)
    return tmp_path


def seen(data):
    """{id: (labels, split)}"""
    stems = {clip.path.rpartition("/")[2].rpartition(".")[0]: clip for clip in data.clips}
    return {stem: ([data.labels[k] for k in clip.labels], clip.split) for stem, clip in stems.items()}


def test_the_published_tables(tables):
    make(tables, [f"audio/{name}.wav" for name in NAMES])
    data = open_dataset(f"audioset-balanced:{tables}")
    assert data.labels == ["Speech", "Music, any, at all", "Gush", "Keys jangling"] and data.multilabel
    assert seen(data) == {
        "--PJHxphWEs": (["Speech", "Gush"], "train"),
        "Y-0hnDcWyZg": (["Speech"], "train"),
        "a_b_c_d_e_1": (["Music, any, at all"], "train"),
        "-0RWZT-miFs": (["Music, any, at all", "Keys jangling"], "test"),
        "0123456789-": (["Gush"], "test"),
    }
    assert [clip.path.rpartition("/")[2][:11] for clip in data.clips] == NAMES[:3] + NAMES[4:]  # as in the tables
    assert data.clips[0].wave(16000).shape == (1600,) and not data.skipped and not data.notes
    assert data.targets(data.of("test")).tolist() == [[0, 1, 0, 1], [0, 0, 1, 0]]


@pytest.mark.parametrize(("name", "train"), [("audioset", 4), ("audioset-full", 4), ("audioset-unbalanced", 1)])
def test_which_part_is_trained_on(tables, name, train):
    make(tables, [f"audio/{name}.wav" for name in NAMES])
    data = open_dataset(f"{name}:{tables}")
    assert len(data.of("train")) == train and len(data.of("test")) == 2


def test_a_part_whose_table_is_not_there(tables):
    make(tables, [f"audio/{name}.wav" for name in NAMES])
    (tables / "unbalanced_train_segments.csv").unlink()
    assert len(open_dataset(f"audioset:{tables}").of("train")) == 3
    with pytest.raises(minast.Error, match=r"audioset-full needs unbalanced_train_segments\.csv"):
        open_dataset(f"audioset-full:{tables}")
    (tables / "eval_segments.csv").unlink()
    with pytest.raises(minast.Error, match=r"audioset needs eval_segments\.csv"):
        open_dataset(f"audioset:{tables}")


def test_usual_names_and_folders(tables):
    files = [
        "audios/balanced_train_segments/Y--PJHxphWEs.wav",  # PANNs
        "bal_train/audio/Y-0hnDcWyZg.flac",
        "x/y/z/Ya_b_c_d_e_1_70.000_80.000.ogg",
        "unbalanced/part07/Zz9zzzzzzz9_30500.wav",  # milliseconds
        "eval/-0RWZT-miFs_420.wav",
        "eval/0123456789-_0.000.flac",
    ]
    make(tables, files)
    data = open_dataset(f"audioset-full:{tables}")
    assert sorted(clip.path for clip in data.clips) == sorted(str(tables / name) for name in files)
    assert not data.skipped


@pytest.mark.parametrize("name", ["Y-0hnDcWyZg_30_40.wav", "Y-0hnDcWyZg_000030.wav"])
def test_a_cut_from_later_is_not_the_segment_from_0_s(tables, name):
    """A start of 30 s is not one of 30 ms."""
    make(tables, [f"x/{name}", "x/--PJHxphWEs.wav", "eval/-0RWZT-miFs_420.wav"])
    data = open_dataset(f"audioset-full:{tables}", training=False)
    assert not any("0hnDcWyZg" in clip.path for clip in data.clips)
    assert any("begin elsewhere" in str(each) for each in data.skipped)


@pytest.mark.parametrize(
    ("stem", "ytid", "start"),
    [
        ("--PJHxphWEs", "--PJHxphWEs", None),
        ("Y--PJHxphWEs", "--PJHxphWEs", None),
        ("Y-0hnDcWyZg", "Y-0hnDcWyZg", None),
        ("YY-0hnDcWyZg", "Y-0hnDcWyZg", None),
        ("a_b_c_d_e_1_30", "a_b_c_d_e_1", 30),
        ("Ya_b_c_d_e_1_30_40", "a_b_c_d_e_1", 30),
        ("Yabcdefghij__30.000_40.000", "abcdefghij_", 30),
        ("abcdefghij_", "abcdefghij_", None),
        ("--PJHxphWEs_x", None, None),
        ("--PJHxphWEs_1_2_3", None, None),
        ("Z--PJHxphWEs", None, None),
        ("short", None, None),
        ("ünicode_abc", None, None),
        ("", None, None),
    ],
)
def test_ids_in_names(stem, ytid, start):
    found, at = audioset_files.parsed(stem)
    assert found == (ytid and ytid.encode()) and (at == start or (start is None and at != at))


def test_what_is_not_there_is_counted(tables, command):
    make(
        tables, ["a/--PJHxphWEs.wav", "a/0123456789-.wav", "b/Y--PJHxphWEs.wav", "b/-0RWZT-miFs_77.wav", "b/notes.wav"]
    )
    data = open_dataset(f"audioset-balanced:{tables}")
    assert [clip.path for clip in data.clips] == [str(tables / "a/--PJHxphWEs.wav"), str(tables / "a/0123456789-.wav")]
    assert {each.what: list(each.paths) for each in data.skipped} == {
        "train segments whose clips are not here": ["Y-0hnDcWyZg", "a_b_c_d_e_1"],
        "test segments whose clips are not here": ["-0RWZT-miFs"],
        "files that begin elsewhere in the video than its segment": ["-0RWZT-miFs_77.wav"],
        "audio files that are not called like a segment": [str(tables / "b/notes.wav")],
    }
    status, out, err = command("data", "check", f"audioset-balanced:{tables}")
    assert status == 0 and err == "" and "skipped: 2 train segments whose clips are not here" in out
    found = json.loads(command("data", "check", f"audioset-balanced:{tables}", "--json")[1])
    assert found["skipped"][0]["count"] == 2 and found["skipped"][0]["some"] == ["Y-0hnDcWyZg", "a_b_c_d_e_1"]


def test_several_segments_of_a_video_are_told_apart_by_their_start(tables):
    rows = BALANCED + 'twotwotwo22, 10.000, 20.000, "/m/09x0r"\ntwotwotwo22, 50.000, 60.000, "/m/04rlf"\n'
    (tables / "balanced_train_segments.csv").write_text(HEAD + rows)
    make(tables, ["a/twotwotwo22_10.wav", "a/twotwotwo22_50000.wav", "a/twotwotwo22_99.wav", "a/0123456789-.wav"])
    data = open_dataset(f"audioset-balanced:{tables}")
    assert {stem: labels for stem, (labels, _) in seen(data).items()} == {
        "twotwotwo22_10": ["Speech"],
        "twotwotwo22_50000": ["Music, any, at all"],
        "0123456789-": ["Gush"],
    }


def test_the_ontology_names_classes_where_their_table_is_missing(tables):
    make(tables, [f"audio/{name}.wav" for name in NAMES])
    (tables / "class_labels_indices.csv").unlink()
    with pytest.raises(minast.Error, match=r"neither class_labels_indices\.csv nor ontology\.json"):
        open_dataset(f"audioset-full:{tables}")
    names = {"/m/0dgw9r": "Human sounds", "/m/09x0r": "Speech", "/m/04rlf": "Music", "/m/03v3yw": "Keys jangling"}
    ontology = [{"id": mid, "name": name, "child_ids": []} for mid, name in names.items()]
    (tables / "ontology.json").write_text(json.dumps([*ontology, {"id": "/t/dd00088", "name": "Gush"}]))
    data = open_dataset(f"audioset-full:{tables}")
    assert data.labels == ["Speech", "Music", "Keys jangling", "Gush"]  # those that a segment has
    assert seen(data)["--PJHxphWEs"][0] == ["Speech", "Gush"] and "in the order of ontology.json" in data.notes[0]


def test_labels_that_are_no_class_are_said(tables):
    make(tables, [f"audio/{name}.wav" for name in NAMES])
    (tables / "balanced_train_segments.csv").write_text(HEAD + BALANCED.replace("/t/dd00088", "/m/new"))
    data = open_dataset(f"audioset-balanced:{tables}")
    assert data.notes == ("1 label is left out, which the list of classes lacks: '/m/new'",)
    assert seen(data)["--PJHxphWEs"][0] == ["Speech"]


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        ("balanced_train_segments.csv", "file,labels\nx.wav,dog\n", "line 1: this is no row of AudioSet's segments"),
        ("balanced_train_segments.csv", HEAD + "--PJHxphWEs, x, 40, /m/09x0r\n", "line 4: this is no row"),
        ("balanced_train_segments.csv", HEAD + "--PJHxphWE, 0, 40, /m/09x0r\n", "line 4: this is no row"),
        ("balanced_train_segments.csv", HEAD + "--PJHxphWEs, nan, 40, /m/09x0r\n", "line 4: this is no row"),
        ("balanced_train_segments.csv", b"\xff\xfe\0x", "this table of segments cannot be read"),
        ("class_labels_indices.csv", "a,b\n1,2\n", "this is not AudioSet's list of classes"),
        ("class_labels_indices.csv", "index,mid,display_name\n0,/m/x,\x1b[31m\n", "contains a control character"),
    ],
)
def test_tables_that_are_not_as_published(tables, file, text, match):
    make(tables, [f"audio/{name}.wav" for name in NAMES])
    (tables / file).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(minast.Error, match=match):
        open_dataset(f"audioset-balanced:{tables}")


def test_no_clip_at_all(tables):
    with pytest.raises(minast.Error, match="no audio file here is one of the 5 segments"):
        open_dataset(f"audioset-balanced:{tables}")
    sound(tables / "audio" / "1.wav")
    with pytest.raises(minast.Error, match="give it as audioset:"):
        open_dataset(str(tables))


def test_folders_behind_links_are_read_once(tables):
    make(tables, [f"audio/{name}.wav" for name in NAMES])
    (tables / "audio" / "again").symlink_to(tables)
    (tables / "b").symlink_to(tables / "audio")
    assert len(open_dataset(f"audioset-full:{tables}").clips) == 6


# n, processor seconds, bytes. Measured on two busy cores: of 200,000 2 s and 38 MB, of 2 million 19 s and 180 MB
@pytest.mark.parametrize(("n", "seconds", "memory"), [(20_000, 4, 40e6), (200_000, 10, 80e6), (2_000_000, 60, 400e6)])
def test_many_segments(tmp_path, n, seconds, memory):
    command = [sys.executable, "-m", "tests.data.many_segments", tmp_path, n]
    said = subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout
    found = json.loads(said)
    assert found["train"] == n - n // 50 and found["missing"] == n // 50 and found["test"] > 39_900
    assert found["seconds"] < seconds and found["bytes"] < memory, found
