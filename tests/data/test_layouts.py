"""Folders as public data sets, archives and people leave them: what minast makes of each, and what it says."""

import unicodedata

import pytest

import minast
from minast import audio
from minast.datasets import open_dataset, understood
from tests.data.sounds import make, several

TWO = [*several("dog/*.wav"), *several("cat/*.wav")]
SPLIT = [f"{split}/{name}/{i}.wav" for split in ("train", "test") for name in ("cat", "dog") for i in range(2)]
FOLDS = [f"fold{k}/{name}/{i}.wav" for k in (1, 2, 3) for name in ("cat", "dog") for i in range(2)]
FLAT = [f"{i}.wav" for i in range(4)]
ROWS = "0.wav,cat,train\n1.wav,dog,train\n2.wav,cat,test\n3.wav,dog,test"
URBAN = "metadata/Sounds.csv: slice_file_name,fold,classID,class\n"
URBAN += "0.wav,1,0,cat\n1.wav,1,1,dog\n2.wav,2,0,cat\n3.wav,2,1,dog"
URBAN_ROWS = "0.wav,cat\n1.wav,dog\n2.wav,cat\n3.wav,dog"
WINDOWS = r"C:\Users\ann\clips\0.wav,cat" + "\n" + r"C:\Users\ann\clips\1.wav,dog" + "\n"
NFC, NFD = (unicodedata.normalize(form, "gérant") for form in ("NFC", "NFD"))

# name: (files, {class: {split: clips}}, what is said)
READ = {
    "class folders": (
        TWO,
        {"cat": (2, 0, 1), "dog": (2, 0, 1)},
        "a fifth of each class for testing, drawn with",
    ),
    "split/class": (SPLIT, {"cat": (2, 0, 2), "dog": (2, 0, 2)}, "given by the folders"),
    "split/class and other folders": (
        [*SPLIT, "__MACOSX/train/cat/._0.wav", "labels/train.csv: file\n", "unlabelled/7.wav", ".git/x.wav"],
        {"cat": (2, 0, 2), "dog": (2, 0, 2)},
        "2 folders that are no class: labels/, unlabelled/|1 audio file in those folders|1 folder of the "
        "operating system",
    ),
    "Training set, Test set": (
        [name.replace("train/", "Training set/").replace("test/", "Test_Set/") for name in SPLIT],
        {"cat": (2, 0, 2), "dog": (2, 0, 2)},
        "given by the folders",
    ),
    "three splits by other names": (
        [*SPLIT, "dev/cat/0.wav", "dev/dog/0.wav"],
        {"cat": (2, 1, 2), "dog": (2, 1, 2)},
        "4 train, 2 valid, 4 test clips",
    ),
    "class/split": (
        [f"{name}/{split}/{i}.wav" for split in ("train", "val") for name in ("cat", "dog") for i in range(2)],
        {"cat": (2, 2, 0), "dog": (2, 2, 0)},
        "given by the folders",
    ),
    "fold/class": (FOLDS, {"cat": (4, 0, 2), "dog": (4, 0, 2)}, "folds given by the folders: fold 1 is the test set"),
    "class/fold": (
        [f"{name}/Fold_0{k}/{i}.wav" for k in (1, 2, 3) for name in ("cat", "dog") for i in range(2)],
        {"cat": (4, 0, 2), "dog": (4, 0, 2)},
        "folds given by the folders: fold 1 is the test set",
    ),
    "an archive's own folder": (
        [f"animals-1.0/data/{name}" for name in SPLIT] + ["animals-1.0/README.md: hello"],
        {"cat": (2, 0, 2), "dog": (2, 0, 2)},
        "all audio is in */animals-1.0/data: the classes are looked for there",
    ),
    "test clips without labels": (
        [*(f"train/{name}" for name in TWO), "test/0.wav", "test/1.wav"],
        {"cat": (2, 0, 1), "dog": (2, 0, 1)},
        "test has no class folders, so no labels: its audio is not used|only 'train' has labels: the split is drawn",
    ),
    "a Mac's resource forks": (
        [*TWO, "dog/._0.wav", "cat/._0.wav", ".DS_Store"],
        {"cat": (2, 0, 1), "dog": (2, 0, 1)},
        "skipped: 2 hidden files: cat/._0.wav",
    ),
    "links to folders and loops": (
        [*several("store/dog/*.wav"), *several("sub/cat/*.wav"), "sub/dog -> store/dog", "sub/up -> sub"],
        {"cat": (2, 0, 1), "dog": (2, 0, 1)},
        "",
    ),
    "mixed formats": (
        [
            "dog/0.wav",
            "dog/1.FLAC.flac",
            "dog/2.ogg",
            "dog/3.aif",
            "dog/4.m4a",
            "dog/notes.txt: x",
            "dog/x.dat",
            *several("cat/*.ogg", range(4)),
        ],
        {"cat": (2, 1, 1), "dog": (2, 1, 1)},
        "1 file that needs conversion: dog/4.m4a. Convert them, for example by `find|-iname '*.m4a' -exec ffmpeg|"
        "1 file of a kind that is not read: dog/x.dat",
    ),
    "loose audio beside class folders": (
        [*TWO, "a.wav", "b.wav"],
        {"cat": (2, 0, 1), "dog": (2, 0, 1)},
        "2 audio files outside the class folders",
    ),
    "a table beside class folders": (
        [*TWO, "labels.csv: file,labels\ndog/0.wav,cat"],
        {"cat": (2, 0, 1), "dog": (2, 0, 1)},
        "1 table: labels.csv. The sub-folders are the classes; to use a table, give its path",
    ),
    "folders within classes": (
        ["dog/ann/0.wav", "dog/ben/1.wav", "dog/2.wav", *several("cat/*.wav")],
        {"cat": (2, 0, 1), "dog": (2, 0, 1)},
        "sub-folders belong to the class whose folder they are in: 'dog'",
    ),
    "flat files, a table inside": (
        [*FLAT, "clips.csv: filename,category,split\n" + ROWS],
        {"cat": (1, 0, 1), "dog": (1, 0, 1)},
        "the labels are read from */clips.csv|the columns 'filename', 'category' are read as 'file', 'labels'",
    ),
    "a table in meta, audio in folds": (
        ["audio/fold1/0.wav", "audio/fold1/1.wav", "audio/fold2/2.wav", "audio/fold2/3.wav", URBAN],
        {"cat": (1, 0, 1), "dog": (1, 0, 1)},
        "folds given by the manifest: fold 1 is the test set|found by the end of their paths",
    ),
    "Windows paths, absolute": (
        [
            *(f"clips/{i}.wav" for i in range(4)),
            "m.csv: file,label\n" + WINDOWS + WINDOWS.replace("0.w", "2.w").replace("1.w", "3.w"),
        ],
        {"cat": (1, 0, 1), "dog": (1, 0, 1)},
        r"4 files are not where the manifest says and were found by the end of their paths, such as 'C:\Users",
    ),
    "a table per split": (
        [
            *(f"wavs/{i}.wav" for i in range(4)),
            "train.csv: path,label\nwavs/0.wav,cat\nwavs/1.wav,dog",
            "test.csv: path,label\nwavs/2.wav,cat\nwavs/3.wav,dog",
        ],
        {"cat": (1, 0, 1), "dog": (1, 0, 1)},
        "the labels are read from */test.csv', '*/train.csv'",
    ),
    "a tab-separated table without suffixes": (
        [*FLAT, "list.tsv: fname\tlabel\n0\tcat\n1\tdog\n2\tcat\n3\tdog"],
        {"cat": (1, 0, 1), "dog": (1, 0, 1)},
        "the columns 'fname', 'label' are read as 'file', 'labels'",
    ),
    "audio_train and a table of it": (
        [*(f"audio_train/{i}.wav" for i in range(4)), "audio_test/9.wav", "train.csv: fname,label\n" + URBAN_ROWS],
        {"cat": (1, 0, 1), "dog": (1, 0, 1)},
        "1 audio file that the table does not name: audio_test/9.wav",
    ),
    "two spellings of é": (
        [*several("cat/*.wav"), *several(f"{NFC}/*.wav"), *several(f"{NFD}/*.wav", (3, 4))],
        {"cat": (2, 0, 1), NFC: (3, 1, 1)},
        "comes in 2 Unicode spellings that look the same: they are one class",
    ),
    "a class without test clips": (
        [*SPLIT, "train/cow/0.wav"],
        {"cat": (2, 0, 2), "cow": (1, 0, 0), "dog": (2, 0, 2)},
        "1 class has no test clips and cannot be measured there: cow",
    ),
    "one clip of a class": (
        [*TWO, "cow/0.wav"],
        {"cat": (2, 0, 1), "cow": (1, 0, 0), "dog": (2, 0, 1)},
        "1 class has no test clips and cannot be measured there: cow",
    ),
    "a train among vehicles": (
        [*several("train/*.wav"), *several("car/*.wav")],
        {"car": (2, 0, 1), "train": (2, 0, 1)},
        "train is taken for a class, since no test or valid is beside it",
    ),
}

# name: (files, the sentence)
REFUSED = {
    "nothing": ([], "no sub-folders; training needs one sub-folder per class"),
    "no audio": (["dog/notes.txt: x"], "sub-folders \\(1\\) but no audio in them"),
    "flat files": (FLAT, "4 audio files but no class folders; training needs one sub-folder per class"),
    "splits without classes": (
        ["train/0.wav", "train/1.wav", "test/2.wav"],
        "'test', 'train' hold audio but no class folders: put the files of each class into a folder",
    ),
    "folds without classes": (
        ["fold1/0.wav", "fold2/1.wav"],
        "'fold1', 'fold2' hold audio but no class folders.* with the column fold",
    ),
    "splits by other names": (
        ["FSD50K.dev_audio/0.wav", "FSD50K.eval_audio/1.wav"],
        "'FSD50K.dev_audio', 'FSD50K.eval_audio' are named like splits: call them train and test",
    ),
    "a known data set": (["recordings/7_ann_0.wav", "recordings/8_ann_1.wav"], "Digit Dataset.*give it as fsdd:"),
    "test among classes": ([*TWO, "test/0.wav"], "'test' is named like a split, but 'cat', 'dog' beside it are not"),
    "labels only in test": (
        ["train/0.wav", "test/cat/0.wav", "test/dog/0.wav"],
        "the train folder has no class folders and 'test' has",
    ),
    "speakers or words": (
        [f"{who}/{word}/{i}.wav" for who in ("ann", "ben") for word in ("yes", "no") for i in range(2)],
        "'ann', 'ben' each contain 'no', 'yes': either could be the classes",
    ),
    "some classes divided": (
        ["dog/train/0.wav", "dog/test/1.wav", *several("cat/*.wav")],
        "dog is divided into 'test', 'train', 'cat' is not: divide all class folders, or none",
    ),
    "an emptied class": (
        [*several("dog/*.m4a"), *TWO[3:], *several("cow/*.wav")],
        r"dog: this class would be empty, none of its files can be .*\(3 \.m4a\)\. Convert them, .*find .*/dog -iname",
    ),
    "a class of unknown files": (
        [*several("dog/*.dat"), *TWO[3:], *several("cow/*.wav")],
        r"none of its files can be read \(3 \.dat\)\. Move the folder away if it is no class",
    ),
    "an emptied class of a split": (
        [*SPLIT, "train/cow/0.wma", "test/cow/0.wav"],
        "train/cow: this class would be empty, none of its files can be read \\(1 \\.wma\\)",
    ),
    "a class in test alone": (
        [*SPLIT, "test/cow/0.wav"],
        "no training clip is of class 'cow', which the test split has",
    ),
    "a semicolon": (
        [*several("a;b/*.wav"), *several("cat/*.wav")],
        "'a;b' contains a semicolon, which separates labels",
    ),
    "a control character": (
        [*several("d\x1b[31mog/*.wav"), *several("cat/*.wav")],
        r"the label 'd\\x1b\[31mog' contains a control character",
    ),
    "bytes that are no text": (
        ["d\udcffog/\udcff.wav", *several("cat/*.wav")],
        r"the label 'd\\udcffog' contains bytes that are not UTF-8",
    ),
    "two tables": (
        [*FLAT, "a.csv: file,labels\n0.wav,cat\n1.wav,dog", "b.csv: file,labels\n0.wav,dog\n1.wav,cat"],
        "2 tables name its files .*a.csv.*b.csv.*give the right one as DATA",
    ),
    "one class": (several("dog/*.wav"), "there is only one class .'dog'.: a classifier needs at least two"),
    "one fold": ([*several("fold1/cat/*.wav"), *several("fold1/dog/*.wav")], None),
}


@pytest.mark.parametrize("name", READ)
def test_what_is_understood(tmp_path, name):
    files, classes, said = READ[name]
    top = make(tmp_path / "clips", files)
    data = open_dataset(str(top / "sub" if name.startswith("links") else top))
    assert data.labels == sorted(classes)
    counts = data.counts()
    none = [0] * len(data.labels)
    for k, label in enumerate(data.labels):
        assert tuple(int(counts.get(s, none)[k]) for s in ("train", "valid", "test")) == classes[label], label
    text = "\n".join(understood(data))
    for part in filter(None, said.split("|")):
        pieces = part.split("*/")
        at = 0
        for piece in pieces:
            at = text.find(piece, at)
            assert at >= 0, (piece, text)
    assert len({clip.path for clip in data.clips}) == len(data.clips)


@pytest.mark.parametrize("name", [name for name in REFUSED if REFUSED[name][1]])
def test_what_is_refused(tmp_path, name):
    files, sentence = REFUSED[name]
    (tmp_path / "clips").mkdir()
    with pytest.raises(minast.Error, match=sentence) as error:
        open_dataset(str(make(tmp_path / "clips", files)))
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_single_fold_is_an_outer_folder(tmp_path):
    data = open_dataset(str(make(tmp_path, REFUSED["one fold"][0])))
    assert data.labels == ["cat", "dog"] and not data.folds


def test_each_fold_is_the_test_set_once(tmp_path):
    top = make(tmp_path, FOLDS)
    for fold in (1, 2, 3):
        tested = open_dataset(str(top), fold=fold).of("test")
        assert len(tested) == 4 and all(f"fold{fold}" in clip.path for clip in tested)
    with pytest.raises(minast.Error, match="fold 4 is to be the test set; there are the folds 1, 2, 3"):
        open_dataset(str(top), fold=4)
    with pytest.raises(minast.Error, match="no folds: leave out --fold"):
        open_dataset(str(make(tmp_path / "plain", TWO)), fold=1)


def test_a_table_beside_the_folder(tmp_path):
    top = make(tmp_path / "clips", FLAT)
    make(
        tmp_path, ["clips.csv: file,labels,split\n" + ROWS.replace("\n", "\nclips/").replace("0.wav", "clips/0.wav", 1)]
    )
    data = open_dataset(str(top))
    assert data.labels == ["cat", "dog"] and len(data.of("test")) == 2


def test_a_folder_that_looks_like_a_known_data_set(tmp_path):
    files = [f"00{k} - {name}/{fold}-{k}-A.ogg" for k, name in enumerate(("Dog", "Rain")) for fold in (1, 2)]
    data = open_dataset(str(make(tmp_path, files)))
    assert any("this looks like ESC-10" in note and f"esc10:{tmp_path} uses" in note for note in data.notes)


def test_an_unreadable_folder_is_one_sentence(tmp_path, monkeypatch):
    import os

    real = os.scandir

    def denied(path):
        if str(path).endswith("cat"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    make(tmp_path, TWO)
    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(minast.Error, match="cat: this folder cannot be read: Permission denied"):
        open_dataset(str(tmp_path))


def test_with_pyav_more_is_a_sound(tmp_path, monkeypatch):
    make(tmp_path, [*several("dog/*.m4a"), *several("cow/*.wav")])
    monkeypatch.setattr(audio.pyav, "installed", lambda: True)
    data = open_dataset(str(tmp_path))
    assert data.labels == ["cow", "dog"] and len(data.clips) == 6


def test_columns_that_are_not_used_are_named(tmp_path):
    make(tmp_path, [*several("dog/*.wav"), *several("cow/*.wav")])
    rows = "".join(f"{name}/{i}.wav,{name},x,0.1,0.2\n" for name in ("dog", "cow") for i in range(3))
    (tmp_path / "t.csv").write_text("file,labels,label,onset,offset\n" + rows)
    notes = open_dataset(str(tmp_path / "t.csv")).notes
    assert any("the columns 'onset', 'offset' are not used: each file is one clip" in note for note in notes)
    assert any("the labels are in the column 'labels': not used is 'label'" in note for note in notes)
