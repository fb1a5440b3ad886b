"""Which files the rows of a table mean, where several tables lie, and what is wrong with one."""

import pytest

import minast
from minast.datasets import open_dataset
from tests.data.sounds import make, several
from tests.data.test_layouts import FLAT, NFC, NFD, ROWS


def test_each_table_s_files_are_beside_it(tmp_path):
    """Two tables, with paths from their own folders, in which the same names mean other recordings."""
    make(tmp_path, [f"{split}/rec{i}.wav" for split in ("train", "test") for i in range(4)])
    for split in ("train", "test"):
        rows = [f"rec{i}.wav,{'cat' if i % 2 else 'dog'}\n" for i in range(4)]
        (tmp_path / split / f"{split}.csv").write_text("file,labels\n" + "".join(rows))
    data = open_dataset(str(tmp_path))
    assert len(data.clips) == 8 and all(f"/{clip.split}/" in clip.path for clip in data.clips)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,labels\n0.wav,cat\n,dog\n", "labels.csv, line 3: the column 'file' is empty"),
        ("file,labels\n0.wav,caf\xe9\n1.wav,dog\n", "labels.csv: this cannot be read as a CSV manifest"),
        ("file,labels,verdict\n0.wav,cat,perhaps\n", "line 2: the verdict is 'perhaps'"),
    ],
)
def test_a_damaged_table_of_a_folder_is_not_passed_over(tmp_path, text, words):
    make(tmp_path, FLAT)
    (tmp_path / "labels.csv").write_text(text, encoding="latin-1")
    (tmp_path / "notes.csv").write_text("when,who\n1,\xe9\n", encoding="latin-1")  # of no clips
    with pytest.raises(minast.Error, match=words):
        open_dataset(str(tmp_path))


def recorders(tmp_path, folders, rows):
    """Recordings that are called by their times, and a table of them."""
    make(tmp_path, [f"{folder}/{hour}.wav" for folder in folders for hour in range(3)])
    (tmp_path / "m.csv").write_text("file,start,end,label\n" + "".join(rows))
    return open_dataset(str(tmp_path / "m.csv"), training=False, skip_bad=True)


@pytest.mark.parametrize("there", ["north", "northwest"])
def test_a_missing_folder_is_not_replaced_by_another(tmp_path, there):
    """Recorders name files by time: the same names are in all folders."""
    rows = [
        f"{folder}/{h}.wav,0,0.05,{label}\n" for folder, label in (("west", "dog"), (there, "cat")) for h in range(3)
    ]
    rows += [row.replace(",0,0.05", ",0.05,0.1") for row in rows if row.startswith(there)]
    data = recorders(tmp_path, [there], rows)
    assert len(data.clips) == 6 and {clip.labels for clip in data.clips} == {(data.labels.index("cat"),)}
    assert len(data.bad) == 3 and "there is no file west/0.wav; the one of that name" in data.bad[0].reason
    with pytest.raises(minast.Error, match=r"there is no file west/0\.wav"):
        open_dataset(str(tmp_path / "m.csv"), training=False)


def test_a_table_in_the_folder_that_is_left_does_not_name_the_other_s(tmp_path):
    make(tmp_path / "north", [f"{hour}.wav" for hour in range(3)])
    rows = "".join(f"{folder}/{h}.wav,0,0.05,{folder}\n" for folder in ("west", "north") for h in range(3))
    (tmp_path / "north" / "m.csv").write_text(
        "file,start,end,label\n" + rows.replace("north/0.wav,0,0.05", "north/0.wav,0.05,0.1")
    )
    data = open_dataset(str(tmp_path / "north" / "m.csv"), training=False, skip_bad=True)
    assert not len(data.clips) and len(data.bad) == 6  # whose they are cannot be told


def test_spellings_of_one_path_are_one_file(tmp_path):
    make(tmp_path, ["audio/siteA/1.wav", "audio/siteA/2.wav"])
    rows = "recordings/siteA/1.wav,0,0.05,dog\n/archive/recordings/siteA/1.wav,0.05,0.1,cat\n"
    rows += r".\siteA\2.wav,0,0.05,dog" + "\n" + "siteA/2.wav,0.05,0.1,cat\n"
    (tmp_path / "m.csv").write_text("file,start,end,label\n" + rows)
    data = open_dataset(str(tmp_path / "m.csv"), training=False)
    assert len(data.clips) == 4 and not data.bad


@pytest.mark.parametrize(
    "other",
    [
        "events.csv: file,start,end,label,score\n",  # a scan that heard nothing
        "page/labels.csv: file,start,end,label,verdict\n0.wav,0,1,cat,wrong\n",
        "old/clips.csv: file,label,class\n0.wav,a,b\n",
    ],
)
def test_other_tables_do_not_spoil_a_folder(tmp_path, other):
    make(tmp_path, [*FLAT, "labels.csv: file,labels,split\n" + ROWS])
    name, text = other.split(": ")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    data = open_dataset(str(tmp_path))
    assert len(data.clips) == 4
    assert any("a table is not used: " in note and "clips.csv" in note for note in data.notes) == name.endswith(
        "clips.csv"
    )


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["audio/0.wav", "audio/1.wav", "labels.csv: file,labels\naudio/0.wav,cat\n,dog\n"], "labels.csv, line 3"),
        (
            ["0.wav", "1.wav", "labels.csv: file,labels,verdict\n0.wav,cat,wrong\n"],
            "the verdict on all 1 rows is wrong",
        ),
    ],
)
def test_what_is_wrong_with_the_only_table(tmp_path, files, words):
    make(tmp_path, files)
    with pytest.raises(minast.Error, match=words):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("first", ["file,labels", "År,file,labels", "хх,file,labels"])
def test_ends_of_lines_and_names_of_columns(tmp_path, end, first):
    make(tmp_path, FLAT)
    before = "x," if first != "file,labels" else ""
    rows = [first, *(f"{before}{i}.wav,{'a;b' if i % 2 else 'b;c;d'}" for i in range(4))]
    (tmp_path / "labels.csv").write_bytes(end.join(rows).encode() + end.encode())
    assert len(open_dataset(str(tmp_path), training=False).clips) == 4


def test_one_class_beside_a_table_without_rows(tmp_path):
    """Positives alone, to be evaluated, and a scan of them that heard nothing."""
    make(tmp_path, [*several("owl/*.wav"), "events.csv: file,start,end,label,score\n"])
    assert open_dataset(str(tmp_path), training=False).labels == ["owl"]


def test_a_damaged_split_is_not_passed_over(tmp_path):
    make(
        tmp_path, [*FLAT, "train.csv: file,labels\n0.wav,cat\n1.wav,dog\n", "test.csv: file,labels\n2.wav,cat\n,dog\n"]
    )
    with pytest.raises(minast.Error, match=r"test\.csv, line 3: the column 'file' is empty"):
        open_dataset(str(tmp_path))


def test_labels_come_before_label(tmp_path):
    make(tmp_path, [*FLAT, "m.csv: file,start,end,labels,label\n0.wav,0,0.05,a;b,c\n1.wav,0,0.05,b,c\n"])
    assert open_dataset(str(tmp_path / "m.csv"), training=False).labels == ["a", "b"]


def test_a_name_that_several_folders_have_costs_its_row_alone(tmp_path):
    rows = ["west/0.wav,0,0.05,dog\n", "north/0.wav,0,0.05,cat\n", "south/1.wav,0,0.05,dog\n"]
    data = recorders(tmp_path, ["north", "south"], rows)
    assert len(data.clips) == 2 and "2 files have this name" in data.bad[0].reason


def test_folders_are_compared_by_their_whole_names(tmp_path):
    make(tmp_path, ["audio/dog/1.wav", "audio/hotdog/1.wav", "audio/cat/2.wav"])
    (tmp_path / "m.csv").write_text("file,labels\nsounds/dog/1.wav,dog\nsounds/cat/2.wav,cat\n")
    data = open_dataset(str(tmp_path / "m.csv"), training=False)
    assert sorted(clip.path.removeprefix(str(tmp_path)) for clip in data.clips) == [
        "/audio/cat/2.wav",
        "/audio/dog/1.wav",
    ]


def test_a_label_that_is_written_twice_is_one_label(tmp_path):
    make(tmp_path, FLAT)
    rows = f"0.wav,dog;dog\n1.wav,cat\n2.wav,dog\n3.wav,{NFC};{NFD}\n"
    (tmp_path / "m.csv").write_text("file,labels\n" + rows, encoding="utf-8")
    assert not open_dataset(str(tmp_path / "m.csv"), training=False).multilabel
