"""Published data sets in the layouts that they are published in: labels, official splits and folds, groups."""

import json

import pytest

import minast
from minast import datasets
from minast.checkpoint import load_state
from minast.datasets import SOURCES, open_dataset, registry

from .sounds import make, sound


def by_file(data):
    """{file name: (labels, split, fold, group)}"""
    return {
        clip.path.rpartition("/")[2]: (
            ";".join(data.labels[k] for k in clip.labels),
            clip.split,
            clip.fold,
            clip.group,
        )
        for clip in data.clips
    }


def refused(data, match):
    with pytest.raises(minast.Error, match=match):
        open_dataset(str(data), training=False)


# -- ESC, FSDD -----------------------------------------------------------------------------------------------------

ESC = """filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
1-100032-B-0.wav,1,0,dog,True,100032,B
2-7-A-14.wav,2,14,chirping_birds,False,7,A
2-9-A-0.wav,2,0,dog,True,9,A
"""


def test_esc50(tmp_path):
    make(tmp_path, [f"meta/esc50.csv: {ESC}", *(f"audio/{row.split(',')[0]}" for row in ESC.splitlines()[1:])])
    assert by_file(open_dataset(f"esc50:{tmp_path}", training=False)) == {
        "1-100032-A-0.wav": ("dog", "test", 1, "100032"),
        "1-100032-B-0.wav": ("dog", "test", 1, "100032"),
        "2-7-A-14.wav": ("chirping birds", "train", 2, "7"),
        "2-9-A-0.wav": ("dog", "train", 2, "9"),
    }
    assert open_dataset(f"esc10:{tmp_path}", training=False).labels == ["dog"]
    (tmp_path / "audio" / "2-9-A-0.wav").unlink()
    refused(f"esc50:{tmp_path}", r"esc50.csv: there is no file .*2-9-A-0\.wav")
    (tmp_path / "meta" / "esc50.csv").write_text(ESC.replace(",2,14", ",two,14"))
    refused(f"esc50:{tmp_path}", "'two' in column 'fold' must be a whole number")
    (tmp_path / "meta" / "esc50.csv").write_text("filename,label\nx,y\n")
    refused(f"esc50:{tmp_path}", "this is not the table of ESC-50: it has no column 'fold'")


def test_esc10_as_first_published(tmp_path):
    make(tmp_path, ["001 - Dog bark/1-100032-A.ogg", "001 - Dog bark/2-114280-B.ogg", "002 - Rain/1-17367-A.ogg"])
    assert by_file(open_dataset(f"esc10:{tmp_path}", fold=2, training=False)) == {
        "1-100032-A.ogg": ("Dog bark", "train", 1, "100032"),
        "2-114280-B.ogg": ("Dog bark", "test", 2, "114280"),
        "1-17367-A.ogg": ("Rain", "train", 1, "17367"),
    }


DIGITS = [f"recordings/{d}_{who}_{take}.wav" for d in (0, 1) for who in ("theo", "lucas") for take in (0, 4, 5)]


def test_digits_and_digits_by_speaker(tmp_path):
    make(tmp_path, DIGITS)
    found = by_file(open_dataset(f"fsdd:{tmp_path}", training=False))
    assert found["1_theo_4.wav"] == ("1", "test", None, "theo") and found["0_lucas_5.wav"][1] == "train"
    data = open_dataset(f"fsdd-speakers:{tmp_path}", fold=2, training=False)
    assert {clip.group for clip in data.of("test")} == {"theo"} and {clip.group for clip in data.of("train")} == {
        "lucas"
    }
    assert data.notes == ("each fold is a speaker: 1 lucas, 2 theo",) and data.fold == 2
    with pytest.raises(minast.Error, match="fsdd-speakers has folds 1 to 6"):
        open_dataset(f"fsdd-speakers:{tmp_path}", fold=7)


def test_the_real_digits_leave_a_speaker_out(shared_data):
    data = open_dataset(f"fsdd-speakers:{shared_data / 'fsdd'}", fold=6)
    assert len(data.of("test")) == 500 and {clip.group for clip in data.of("test")} == {"yweweler"}
    assert data.folds == list(SOURCES["fsdd-speakers"].folds)


# -- Speech Commands -----------------------------------------------------------------------------------------------


def words(path):
    names = ["right/aa_nohash_0.wav", "right/bb_nohash_0.wav", "left/aa_nohash_1.wav", "left/cc_nohash_0.wav"]
    return make(
        path,
        [
            *names,
            "_background_noise_/doing_the_dishes.wav",
            "_background_noise_/README.md: x",
            "validation_list.txt: right/bb_nohash_0.wav\n",
            "testing_list.txt: left/cc_nohash_0.wav\r\nleft/gone_nohash_0.wav\n",
            "README.md: x",
            "LICENSE: x",
        ],
    )


def test_speech_commands(tmp_path):
    words(tmp_path)
    data = open_dataset(f"speech-commands:{tmp_path}", training=False)
    assert data.labels == ["left", "right"] and data.validation_split == "valid"
    assert by_file(data) == {
        "aa_nohash_0.wav": ("right", "train", None, "aa"),
        "bb_nohash_0.wav": ("right", "valid", None, "bb"),
        "aa_nohash_1.wav": ("left", "train", None, "aa"),
        "cc_nohash_0.wav": ("left", "test", None, "cc"),
    }
    assert data.notes == ("2 words instead of the 35 of version 2",)
    assert [(each.what, each.paths) for each in data.skipped] == [
        ("files that the official lists name and that are not here", ("left/gone_nohash_0.wav",))
    ]


def test_speech_commands_without_its_lists(tmp_path):
    words(tmp_path)
    (tmp_path / "testing_list.txt").unlink()
    refused(f"speech-commands:{tmp_path}", r"testing_list\.txt: the official list cannot be read")


def test_all_35_words(tmp_path):
    names = [f"word{k}/a{k}_nohash_0.wav" for k in range(35)]
    make(
        tmp_path / "sc",
        [*names, "validation_list.txt: word3/a3_nohash_0.wav", "testing_list.txt: word4/a4_nohash_0.wav"],
    )
    data = open_dataset(f"speech-commands:{tmp_path}", training=False)  # the folder that it was unpacked into
    assert len(data.labels) == 35 and not data.notes and not data.skipped
    assert [clip.group for clip in data.of("valid", "test")] == ["a3", "a4"]


# -- UrbanSound8K --------------------------------------------------------------------------------------------------

URBAN = """slice_file_name,fsID,start,end,salience,fold,classID,class
100032-3-0-0.wav,100032,0.0,0.317551,1,5,3,dog_bark
100263-2-0-117.wav,100263,58.5,62.5,1,10,2,children_playing
100263-2-0-121.wav,100263,60.5,64.5,1,10,2,children_playing
"""
SLICES = ["fold5/100032-3-0-0.wav", "fold10/100263-2-0-117.wav", "fold10/100263-2-0-121.wav"]


@pytest.mark.parametrize("inside", ["", "UrbanSound8K"])
def test_urbansound8k(tmp_path, inside):
    make(tmp_path / inside, [f"metadata/UrbanSound8K.csv: {URBAN}", *(f"audio/{name}" for name in SLICES)])
    assert by_file(open_dataset(f"urbansound8k:{tmp_path}", fold=10, training=False)) == {
        "100032-3-0-0.wav": ("dog bark", "train", 5, "100032"),
        "100263-2-0-117.wav": ("children playing", "test", 10, "100263"),
        "100263-2-0-121.wav": ("children playing", "test", 10, "100263"),
    }


def test_urbansound8k_that_is_not_whole(tmp_path):
    refused(f"urbansound8k:{tmp_path}", r"there is no metadata/UrbanSound8K\.csv here")
    make(tmp_path, [f"metadata/UrbanSound8K.csv: {URBAN}", *(f"audio/{name}" for name in SLICES[:2])])
    refused(f"urbansound8k:{tmp_path}", r"there is no file .*100263-2-0-121\.wav")
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text(URBAN.replace(",100263,60", ",,60"))
    refused(f"urbansound8k:{tmp_path}", "line 4: a cell of slice_file_name, fsID, fold, class is empty")


# -- FSD50K --------------------------------------------------------------------------------------------------------

DEV = """fname,labels,mids,split
64760,"Electric_guitar,Guitar,Music","/m/02sgy,/m/0342h,/m/04rlf",train
16399,Guitar,/m/0342h,val
"""
EVAL = """fname,labels,mids
37199,"Electric_guitar,Music","/m/02sgy,/m/04rlf"
"""
VOCABULARY = "0,Electric_guitar,/m/02sgy\n1,Guitar,/m/0342h\n2,Music,/m/04rlf\n"


def freesound(path, metadata=True):
    about = {"64760": {"title": "a", "uploader": "ann"}, "16399": {"title": "b", "uploader": "ben"}}
    names = [f"FSD50K.ground_truth/{name}.csv: {text}" for name, text in (("dev", DEV), ("eval", EVAL))]
    names += [f"FSD50K.ground_truth/vocabulary.csv: {VOCABULARY}"]
    names += ["FSD50K.dev_audio/64760.wav", "FSD50K.dev_audio/16399.wav", "FSD50K.eval_audio/37199.wav"]
    if metadata:
        names += [f"FSD50K.metadata/dev_clips_info_FSD50K.json: {json.dumps(about)}"]
        names += ["FSD50K.metadata/eval_clips_info_FSD50K.json: {}"]
    return make(path, names)


def test_fsd50k(tmp_path):
    data = open_dataset(f"fsd50k:{freesound(tmp_path)}")
    assert data.labels == ["Electric guitar", "Guitar", "Music"] and data.multilabel
    assert by_file(data) == {
        "64760.wav": ("Electric guitar;Guitar;Music", "train", None, "ann"),
        "16399.wav": ("Guitar", "valid", None, "ben"),
        "37199.wav": ("Electric guitar;Music", "test", None, ""),
    }
    assert data.notes == ("of 1 eval clip the metadata do not say who uploaded them",)


def test_fsd50k_without_metadata(tmp_path):
    data = open_dataset(f"fsd50k:{freesound(tmp_path, metadata=False)}")
    assert {clip.group for clip in data.clips} == {""} and "who uploaded these clips is not known" in data.notes[0]


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        ("dev.csv", DEV.replace("16399,Guitar", "16399,Gitar"), "clip 16399 has the label 'Gitar'"),
        ("dev.csv", DEV.replace(",val", ",exam"), "the split of clip 16399 is neither train nor val"),
        ("dev.csv", EVAL, "it has no column 'split'"),
        ("vocabulary.csv", "index,label,mid\n" + VOCABULARY, r"vocabulary\.csv, line 1: FSD50K's vocabulary"),
        ("eval.csv", EVAL.replace("37199", "37200"), r"there is no file .*FSD50K.eval_audio/37200\.wav"),
    ],
)
def test_fsd50k_that_is_not_as_published(tmp_path, file, text, match):
    freesound(tmp_path)
    (tmp_path / "FSD50K.ground_truth" / file).write_text(text)
    refused(f"fsd50k:{tmp_path}", match)


# -- all of them ---------------------------------------------------------------------------------------------------


def test_folders_given_without_the_name_are_recognised(tmp_path):
    words(tmp_path / "words")
    assert any("speech-commands:" in note for note in open_dataset(str(tmp_path / "words"), training=False).notes)
    make(tmp_path / "urban", [f"metadata/UrbanSound8K.csv: {URBAN}", *(f"audio/{name}" for name in SLICES)])
    assert any("urbansound8k:" in note for note in open_dataset(str(tmp_path / "urban"), training=False).notes)
    freesound(tmp_path / "fsd")
    refused(tmp_path / "fsd", "give it as fsd50k:")


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if source.path])
def test_an_empty_folder_is_refused_in_a_sentence(tmp_path, name, command):
    status, _, err = command("data", "check", f"{name}:{tmp_path}")
    assert status == 2 and err.startswith("minast: ") and err.count("\n") == 1 and "Traceback" not in err
    assert f"{name}:PATH" in registry.data_help()


@pytest.mark.parametrize("kind", ["own", "fsdd", "esc"])
def test_a_new_data_set_is_evaluated_on_its_fold_of_training(kind, monkeypatch, tmp_path, command):
    """Whatever recipe it takes: each fold in turn is trained without, and evaluated on."""
    monkeypatch.setattr(registry, "SOURCES", registry.SOURCES.copy())
    monkeypatch.setattr(datasets, "SOURCES", registry.SOURCES)
    files = make(tmp_path / "d", [f"{n}{fold}{i}.wav" for n in "ab" for fold in (2, 3, 7) for i in (0, 1)]).iterdir()
    clips = [datasets.Clip(str(f), (int(f.name[0] == "b"),), path=str(f), fold=int(f.name[1])) for f in sorted(files)]

    def read(path, seed):
        return datasets.Dataset(f"cows:{path}", ["a", "b"], clips, split_from="official", kind=kind)

    registry.register(registry.Source("cows", "Cows", read, folds=(2, 3, 7)))
    run, data = tmp_path / "run", f"cows:{tmp_path / 'd'}"
    assert command("train", data, "--fold", 3, "--out", run, "--depth", 1, "--epochs", 1)[0] == 0
    assert load_state(run / "last.npz")["settings"]["fold"] == 3
    status, out, _ = command("evaluate", run / "best.npz", data, "--out", tmp_path / "r", "--json")
    assert status == 0 and json.loads(out)["clips"] == 4 and json.loads(out)["trained_on"] == 0
    rows = (tmp_path / "r" / "scores.csv").read_text().splitlines()[1:]
    assert {row.split(",")[0] for row in rows} == {clip.path for clip in clips if clip.fold == 3}
    status, _, err = command("evaluate", run / "best.npz", data, "--fold", 7)
    assert status == 2 and "the model was trained on every clip of the test split" in err


# -- manifests -----------------------------------------------------------------------------------------------------


def table(path, text):
    for name in "abcd":
        sound(path / f"{name}.wav")
    (path / "m.csv").write_text(text)
    return str(path / "m.csv")


@pytest.mark.parametrize("column", ["group", "speaker", "recording", "site"])
def test_groups_of_a_manifest(tmp_path, column):
    rows = ["a.wav,x,ann", "b.wav,y,ann", "c.wav,x,ben", "d.wav,y,"]
    data = open_dataset(table(tmp_path, "\n".join([f"file,labels,{column}", *rows])))
    assert [clip.group for clip in sorted(data.clips, key=lambda clip: clip.path)] == ["ann", "ann", "ben", ""]
    assert f"the same {column!r} are one group" in data.notes[0]


def test_one_of_several_groups_is_taken_and_said(tmp_path):
    data = open_dataset(
        table(tmp_path, "file,labels,site,speaker\na.wav,x,1,ann\nb.wav,x,1,ben\nc.wav,y,2,c\nd.wav,y,2,d")
    )
    assert {clip.group for clip in data.clips} == {"ann", "ben", "c", "d"} and "not 'site'" in data.notes[0]


def test_a_recording_is_the_file_where_no_other_column_is(tmp_path):
    data = open_dataset(table(tmp_path, "recording,labels\na.wav,x\nb.wav,x\nc.wav,y\nd.wav,y"))
    assert len(data.clips) == 4 and {clip.group for clip in data.clips} == {""}
    data = open_dataset(
        table(tmp_path, "path,labels,recording\na.wav,x,1\nb.wav,x,1\nc.wav,y,2\nd.wav,y,2"), training=False
    )
    assert {clip.group for clip in data.clips} == {"1", "2"}


def test_clips_of_no_class_in_multi_label_data(tmp_path):
    rows = "file,labels,split\na.wav,x;y,train\nb.wav,,train\nc.wav,background,test\nd.wav,,test\n"
    data = open_dataset(table(tmp_path, rows))
    assert data.labels == ["background", "x", "y"] and data.multilabel
    assert data.targets(data.clips).tolist() == [[0, 1, 1], [0, 0, 0], [1, 0, 0], [0, 0, 0]]
    assert data.notes[-2:] == (
        "2 clips have no label: none of the classes is to be heard there",
        "'background' is learned as a class; leave the labels empty where no class is to be heard",
    )


def test_clips_of_no_class_are_trained_on_and_evaluated(tmp_path, command):
    rows = "file,labels,split\na.wav,x;y,train\nb.wav,,train\nc.wav,x,test\nd.wav,,test\n"
    manifest, run = table(tmp_path, rows), tmp_path / "run"
    assert command("train", manifest, "--out", run, "--depth", 1, "--epochs", 1)[0] == 0
    status, out, _ = command("evaluate", run / "last.npz", manifest, "--json")
    assert status == 0 and json.loads(out)["clips"] == 2


def test_an_empty_label_needs_multi_label_data(tmp_path):
    refused(table(tmp_path, "file,labels\na.wav,x\nb.wav,\nc.wav,y\n"), "line 3: the labels are empty, b.wav needs one")
