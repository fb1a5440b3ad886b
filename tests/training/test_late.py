"""Clips that are computed when a batch needs them: the same numbers as computed before, and files found bad late."""

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import minast
import minast.train
from minast.checkpoint import load, load_state
from minast.datasets import Clip, content, open_dataset
from minast.datasets.targets import Targets
from minast.storage import remembered
from minast.training import clip_cache, feature_cache, late, run_folder, start
from minast.training.feature_cache import FeatureCache, Waves, large
from minast.training.late import FoundLate, Late, StandIns
from minast.training.learner import Learner
from minast.training.run import TrainingData

FEATURES = minast.FeatureConfig(frames=48)
OPTIONS = {"depth": 1, "epochs": 2, "batch": 6, "lr": 1e-3, "threads": 2, "frames": 32, "mixup": 0.5, "roll": 4}
OPTIONS |= {"seed": 3, "no_cache": True}


@pytest.fixture
def many(monkeypatch):
    """From ten clips on, data are large."""
    for module in (feature_cache, run_folder, start):
        monkeypatch.setattr(module, "LARGE", 10)


@pytest.fixture
def own(tones, tmp_path):
    """Sounds of the test's own, with a table that says which are held out: every fifth."""
    folder = tmp_path / "own"
    shutil.copytree(tones, folder)
    rows = [f"{path.relative_to(folder)},{path.parent.name},{'test' if int(path.stem) % 5 == 4 else 'train'}\n"
            for path in sorted(folder.rglob("*.wav"))]  # fmt: skip
    (folder / "table.csv").write_text("file,label,split\n" + "".join(rows))
    return folder


def trained(data, out, **options):
    """All that the checkpoints of a run hold, but the times."""
    minast.train.fit(data / "table.csv", out=out, **{**OPTIONS, **options})
    return state(out)


def state(out):
    found = {}
    for name in ("best.npz", "last.npz"):
        model, info = load(out / name, "numpy")
        found[name, "weights"] = model.w.flat.copy()
        found[name, "history"] = [{k: v for k, v in row.items() if k != "seconds"} for row in info.history]
        found[name, "clips"] = sorted(content.trained_on(info.notes))
    return {**found, **{k: load_state(out / "last.npz")[k] for k in ("m", "v", "counters")}}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("no_cache", [True, False])
def test_late_and_early_training_are_the_same_bit_for_bit(own, tmp_path, monkeypatch, no_cache, capsys):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    early = trained(own, tmp_path / "early", no_cache=no_cache)
    assert "measured on" not in capsys.readouterr().out
    for module in (feature_cache, run_folder, start):
        monkeypatch.setattr(module, "LARGE", 10)
    for name in ("late", "again"):  # the second time from the cache
        assert same(trained(own, tmp_path / name, no_cache=no_cache), early)
        said = capsys.readouterr().out
        assert "24 clips are computed when" in said
        assert "measured on 24 of 24 clips" in said and "30 files are not compared" in said


def test_a_late_run_goes_on_where_it_stopped(own, tmp_path, many, monkeypatch):
    whole = trained(own, tmp_path / "whole")
    step, count = Learner.step, [0]

    def stopping(self, *arguments):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), 2)
        return step(self, *arguments)

    monkeypatch.setattr(Learner, "step", stopping)
    with pytest.raises(KeyboardInterrupt):
        trained(own, tmp_path / "run")
    monkeypatch.setattr(Learner, "step", step)
    minast.train.fit(None, resume=tmp_path / "run")
    assert same(state(tmp_path / "run"), whole)


# -- files that cannot be read -------------------------------------------------------------------------------------


def empty(path):
    soundfile.write(path, np.zeros(0), 16000)


def test_a_bad_file_stops_the_run_and_skipping_it_goes_on_as_if_it_had_been_skipped_before(
    own, tmp_path, many, monkeypatch, capsys
):
    monkeypatch.setattr(late, "SAMPLE", 2)  # neither of them bad
    for name in ("low/3.wav", "high/7.wav", "middle/4.wav"):  # two to train on, one held out
        empty(own / name)
    skipped = trained(own, tmp_path / "skipped", skip_bad=True, mean=-5, std=4)
    out, err = capsys.readouterr()
    assert "2 clips of 24 could not be read, others stand in for them" in out
    assert err.count("note: left out: ") == 3 and "1 of 30 files is left out: 1 of 'middle'." in err
    with pytest.raises(minast.Error, match=r"(3|7)\.wav: the file holds no sound.* is saved after step \d of 8;"):
        trained(own, tmp_path / "run", mean=-5, std=4)
    for _ in range(2):
        with pytest.raises(minast.Error, match=r"to go on without what cannot be read: .*--resume.* --skip-bad"):
            minast.train.fit(None, resume=tmp_path / "run")
    minast.train.fit(None, resume=tmp_path / "run", skip_bad=True)
    assert same(state(tmp_path / "run"), skipped)
    assert minast.train.fit(None, resume=tmp_path / "run")  # --skip-bad is part of the run now


def test_a_bad_file_in_the_sample_is_found_before_the_run_begins(own, tmp_path, many):
    empty(own / "low" / "3.wav")
    with pytest.raises(minast.Error, match=r"3\.wav: the file holds no sound .*--skip-bad goes on without it\."):
        trained(own, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("average_from", [0, 1])
def test_a_bad_held_out_file_costs_no_epoch(own, tmp_path, many, average_from):
    empty(own / "middle" / "4.wav")
    skipped = trained(own, tmp_path / "skipped", skip_bad=True, average_from=average_from)
    with pytest.raises(minast.Error, match=r"4\.wav: the file holds no sound.*saved after step 4 of 8"):
        trained(own, tmp_path / "run", average_from=average_from)
    minast.train.fit(None, resume=tmp_path / "run", skip_bad=True)
    assert same(state(tmp_path / "run"), skipped)


def test_what_stands_in_depends_on_the_files_alone(tones, tmp_path):
    good = open_dataset(str(tones)).clips
    bad = {2, 3, 11, 29}
    clips = [replace(clip, path=str(tmp_path / f"{i}")) if i in bad else clip for i, clip in enumerate(good)]
    plain = FeatureCache(good, FEATURES, cache=False, quiet=True)
    orders, mapped = [range(30), reversed(range(30)), np.random.default_rng(0).permutation(30)], []
    for seed, order in enumerate(orders):
        mels = FeatureCache(clips, FEATURES, cache=False, quiet=True, late=Late(seed, skip_bad=True))
        targets = StandIns(Targets.of(clips, 3), mels.late)
        rows = {int(i): mels[int(i)] for i in order}
        mapped.append([mels.late.stand_in(i) for i in range(30)])
        assert all(np.array_equal(rows[i], plain[mapped[-1][i]]) for i in range(30)) and mels.late.bad == 4
        assert np.array_equal(targets[:], np.eye(3)[[good[k].labels[0] for k in mapped[-1]]])
        assert np.array_equal(targets[5], targets[[5]][0]) and len(targets) == 30 and targets.shape == (30, 3)
        assert mels.late.report() and mels.late.report() is None
    assert mapped[0] == mapped[1] == mapped[2]
    moved = {i for i in range(30) if mapped[0][i] != i}
    assert moved == bad and len({mapped[0][i] for i in bad}) == 4 and not {mapped[0][i] for i in bad} & bad


def test_waveforms_and_features_of_a_place_are_of_one_clip(tones, tmp_path, monkeypatch):
    """Also where a clip has a waveform, and no features."""
    good = open_dataset(str(tones)).clips
    clips = [replace(clip, path=str(tmp_path / "none")) if i == 5 else clip for i, clip in enumerate(good)]
    mels = FeatureCache(clips, FEATURES, cache=False, quiet=True, late=Late(skip_bad=True))
    plain, fault, calls = Waves(good, FEATURES, cache=False, quiet=True), mels._fault, []
    monkeypatch.setattr(mels, "_fault", lambda row: calls.append(0) or ("it is odd" if len(calls) == 1 else fault(row)))
    mels[11]
    waves = Waves(clips, FEATURES, cache=False, quiet=True, late=Late(leader=mels.late))
    for i in (5, 11, 20):
        assert np.array_equal(waves[i], plain[mels.late.stand_in(i)]) and (mels.late.stand_in(i) == i) == (i == 20)
        assert np.array_equal(mels[i], minast.log_mel(waves[i]))
    assert mels.late.bad == 2 and waves.late.bad == 0


def test_without_skipping_a_bad_file_is_named_and_a_good_one_is_not(tmp_path):
    clips = [Clip("a.wav", (0,), path=str(tmp_path / "a.wav"))]
    mels = FeatureCache(clips, FEATURES, cache=False, late=Late())
    with pytest.raises(FoundLate, match=r"a\.wav"):
        mels[0]
    mels = FeatureCache(clips, FEATURES, cache=False, late=Late(skip_bad=True))
    with pytest.raises(FoundLate, match="cannot be read: is the drive there"):
        mels[0]


def test_a_file_that_was_read_and_is_gone_is_not_replaced(tones, tmp_path):
    """Its targets may be in use already; a run that is resumed replaces it from the first step on."""
    shutil.copytree(tones, tmp_path / "own")
    clips = open_dataset(str(tmp_path / "own")).clips
    mels = FeatureCache(clips, FEATURES, cache=False, late=Late(skip_bad=True))
    mels[4], mels[5]  # each thread keeps the row that it asked for last
    os.unlink(clips[4].path)
    with pytest.raises(FoundLate, match="no such file"):
        mels[4]


# -- what is measured on a sample ----------------------------------------------------------------------------------


def test_mean_deviation_and_lengths_of_a_sample(tones, monkeypatch):
    monkeypatch.setattr(late, "SAMPLE", 12)
    clips = open_dataset(str(tones)).clips
    mels, again, other = (FeatureCache(clips, FEATURES, quiet=True, late=Late(seed)) for seed in (1, 1, 2))
    chosen = mels.late.sampled
    assert len(set(chosen)) == 12 and np.array_equal(chosen, again.late.sampled)
    assert not np.array_equal(chosen, other.late.sampled)
    early = FeatureCache([clips[int(i)] for i in chosen], FEATURES, quiet=True)
    assert mels.mean_std() == early.mean_std() == again.mean_std() != other.mean_std()
    assert len(mels.lengths()) == 30 and np.array_equal(mels.lengths()[:12], early.lengths())
    size = 30 * 48 * 128 * 4 / 1e9
    assert mels.described().startswith(f"30 clips are computed when first needed, and kept: about {size:.1f} GB in ")
    assert mels.described().endswith("; lengths, mean and deviation are measured on 12 of 30 clips")
    unkept = FeatureCache(clips, FEATURES, cache=False, quiet=True, late=Late())
    assert unkept.described() == "30 clips are computed whenever they are needed"


def test_what_is_large(tones, monkeypatch):
    clips = open_dataset(str(tones)).clips
    made = [Clip("a", (0,), make=np.zeros)] * 10
    assert not large(clips, FEATURES) and not large([], FEATURES) and not large(made, FEATURES)
    monkeypatch.setattr(feature_cache, "LARGE_FILES", 30 * 10_000)
    assert not large(clips, FEATURES)
    monkeypatch.setattr(feature_cache, "LARGE_FEATURES", 30 * 40 * 512)
    assert large(clips, FEATURES) and not large(made, FEATURES)
    monkeypatch.setattr(feature_cache, "LARGE_FEATURES", 30 * 60 * 512)
    assert not large(clips, FEATURES)
    monkeypatch.setattr(feature_cache, "LARGE", 29)
    assert large(clips, FEATURES)


def test_targets_of_a_large_set_are_made_on_demand(own, many):
    data = TrainingData.read(open_dataset(str(own / "table.csv")), FEATURES, False)
    whole = data.dataset.targets(data.train.clips)
    assert np.array_equal(data.train_targets[:], whole) and np.array_equal(data.train_targets.counts(), whole.sum(0))
    assert np.allclose(data.train_targets.sums(np.arange(3.0)), whole @ np.arange(3.0))


# -- identity ------------------------------------------------------------------------------------------------------


def test_fingerprints_of_large_sets_read_no_file_and_those_of_old_runs_stay(own, monkeypatch):
    dataset = open_dataset(str(own / "table.csv"))
    before = run_folder.fingerprint(dataset)
    monkeypatch.setattr(run_folder, "LARGE", 10)
    by_name = run_folder.fingerprint(dataset)
    assert by_name.startswith("names-") and len(before) == 16
    assert run_folder.fingerprint(dataset, like=before) == before
    assert run_folder.fingerprint(dataset, like=by_name) == by_name
    monkeypatch.setattr(run_folder, "open", None, raising=False)
    assert run_folder.fingerprint(dataset) == by_name
    with open(own / "low" / "0.wav", "ab") as f:
        f.write(b"\0")
    assert run_folder.fingerprint(dataset) != by_name


def test_a_checkpoint_knows_the_clips_that_were_read(own, tmp_path, many, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    trained(own, tmp_path / "run", no_cache=False)
    known = content.trained_on(load(tmp_path / "run" / "best.npz", "numpy")[1].notes)
    train = [clip.path for clip in open_dataset(str(own / "table.csv")).of("train")]
    assert np.array_equal(known, content.shortened(content.digests(train)))


def test_parts_are_listed_with_their_files(own):
    """As where all clips are read before the first step."""
    rows = [f"{path},{at},{at + 0.1:.1f},{path.parent.name}\n" for path in own.rglob("*.wav") for at in (0, 0.1)]
    (own / "events.csv").write_text("file,start,end,label\n" + "".join(rows))
    clips = open_dataset(str(own / "events.csv")).clips[:9]
    mels = FeatureCache(clips, FEATURES, cache=False, quiet=True, late=Late())
    for i in range(len(clips)):
        mels[i]
    assert np.array_equal(mels.late.trained_on(), content.shortened(content.with_files(clips)))
    assert len(mels.late.trained_on()) == 9 + 5


def test_digests_are_remembered_from_run_to_run(own, tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "SETTLED", -60.0)  # these files were written just now
    clips, read = open_dataset(str(own / "table.csv")).clips, []
    first = FeatureCache(clips, FEATURES, quiet=True, late=Late())
    rows = [first[i] for i in range(30)]
    real = content.hashlib.sha256
    monkeypatch.setattr(content.hashlib, "sha256", lambda *a: read.append(a) or real(*a))
    second = FeatureCache(clips, FEATURES, quiet=True, late=Late())
    assert all(np.array_equal(second[i], row) for i, row in enumerate(rows))
    assert not [a for a in read if not a]  # sha256() without data is the beginning of a file
    soundfile.write(clips[3].path, np.random.default_rng(0).uniform(-1, 1, 8000), 16000)
    assert not np.array_equal(second[3], rows[3]) and len([a for a in read if not a]) >= 1


def test_digests_of_files_that_may_still_change_are_not_remembered(own, tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    path, known = str(own / "low" / "0.wav"), remembered.Remembered()
    content.digest(path, known)
    assert known.get(path) is None
    monkeypatch.setattr(remembered, "SETTLED", -60.0)
    digest = content.digest(path, known)
    assert known.get(path)[1] == digest == content.digest(path, remembered.Remembered())
    assert known.get(path + "x", "none") == "none"


@pytest.mark.parametrize("damage", [b"", b"no database", None])
def test_a_damaged_memory_of_digests_costs_time_alone(own, tmp_path, monkeypatch, damage):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remembered, "SETTLED", -60.0)
    paths = sorted(map(str, own.rglob("*.wav")))
    wanted = [content.digest(path, {}) for path in paths]
    first = remembered.Remembered()
    assert [content.digest(path, first) for path in paths] == wanted
    first._database.close()
    file = tmp_path / "cache" / "digests" / "digests.sqlite"
    rng = np.random.default_rng(0)
    for _ in range(20):
        if not file.exists():  # the damage was noticed by the last one to read
            content.digest(paths[0], remembered.Remembered())
        whole = bytearray(file.read_bytes())
        if damage is None:
            for place in rng.integers(0, len(whole), 40):
                whole[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(whole if damage is None else damage)
        for _ in range(2):
            again = remembered.Remembered()
            assert [content.digest(path, again) for path in paths] == wanted
            if again._database:
                again._database.close()


@pytest.mark.parametrize("kept", [None, 1, 0.5, "x" * remembered.VALUE.size, b"short", b"x" * remembered.VALUE.size])
def test_what_a_damaged_row_may_hold_is_not_taken_for_a_digest(own, monkeypatch, kept):
    monkeypatch.setattr(remembered.Remembered, "_do", lambda *_: [(kept,)])
    path = str(next(own.rglob("*.wav")))
    assert remembered.Remembered().get(path) is None
    assert content.digest(path, remembered.Remembered()) == content.digest(path, {})


# -- waveforms -----------------------------------------------------------------------------------------------------


def test_waves_lose_nothing(tmp_path, monkeypatch):
    """Those of 16 bits take 16 bits; others, also beyond [-1, 1], are float32; all come back bit for bit."""
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    rng, clips = np.random.default_rng(0), []
    sounds = [rng.integers(-(2**15), 2**15, 8000) / 2**15, rng.uniform(-1, 1, 8000), rng.uniform(-3, 3, 8000)]
    sounds += [np.r_[sounds[0], 1.0], rng.integers(-(2**15), 2**15, 2_000_000) / 2**15]
    for i, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{i}.wav", sound, 16000, "FLOAT")
        clips.append(Clip(f"{i}", (0,), path=str(tmp_path / f"{i}.wav")))
    first, second, loose = (Waves(clips, FEATURES, quiet=True, late=each) for each in (None, Late(), Late()))
    for i, sound in enumerate(sounds):
        for waves in (first, second, loose):
            assert waves[i].dtype == np.float32 and np.array_equal(waves[i], sound.astype(np.float32))
    sizes = sorted(path.stat().st_size for path in (tmp_path / "cache").rglob("*.wave"))
    assert [round(size, -3) for size in sizes] == [16_000, 32_000, 32_000, 32_000, 8_000_000]
    assert isinstance(second[4].base, np.ndarray) and not second[4].flags.writeable  # mapped
    assert clip_cache.cache_entry.MAPPED < 8_000_000
