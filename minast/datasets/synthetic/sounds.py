"""Ten everyday sounds: (rng, samples, rate) -> waveform (S,) of any level. Each docstring says how it is made."""

import numpy as np

from .synth import between, copies, hump, impulses, noise, overdriven, part, phase, ring, smoothed, unit, wander

VOWELS = np.array(  # Hz: a man's four lowest formants (first three: Peterson and Barney, 1952)
    [
        [270, 2290, 3010, 3600],  # heed
        [530, 1840, 2480, 3500],  # head
        [730, 1090, 2440, 3400],  # hod
        [570, 840, 2410, 3300],  # hawed
        [300, 870, 2240, 3200],  # who'd
    ]
)
BELL = np.array([0.5, 1, 1.183, 1.506, 2, 2.514, 2.662, 3.011, 4.166])  # a church bell's partials over its prime


def siren(rng, samples, rate):
    """A horn whose pitch sweeps up and down without a break: frequency modulation, slow (wail) to fast (yelp)."""
    cycles, width = between(rng, 0.8, 3.5), rng.uniform(0.35, 0.7)  # sweeps a second, half the range in octaves
    swing = np.sin(phase(np.full(samples, cycles), rate, rng.random()))
    if rng.random() < 0.5:
        swing = 2 / np.pi * np.arcsin(swing)  # straight flanks
    hz = between(rng, 500, 1800) * 2 ** (width * swing)
    return overdriven(phase(hz, rate), between(rng, 0.3, 3), rng.uniform(0, 0.6))


def telephone(rng, samples, rate):
    """An electronic ringer: two tones that take turns some ten times a second, in rings with gaps."""
    low, ratio = between(rng, 450, 2200), rng.uniform(1.18, 1.45)
    turns, ring_s, gap_s = rng.uniform(8, 14), rng.uniform(0.35, 0.9), rng.uniform(0.12, 0.3)
    t = np.arange(samples) / rate + rng.uniform(0, 0.3)
    which = 0.5 + 0.5 * np.tanh(6 * np.sin(2 * np.pi * turns * t))  # 0 or 1, with a soft hand-over
    tone = overdriven(phase(low * (1 + (ratio - 1) * which), rate), between(rng, 0.3, 4))
    return tone * hump(part(t / (ring_s + gap_s)), ring_s / (ring_s + gap_s), 0.03)


def clock(rng, samples, rate):
    """The escapement: a hard double click each half swing, tick and tock on slightly different parts of the case."""
    step = rng.uniform(0.16, 0.4)  # seconds from tick to tock
    times = np.arange(rng.uniform(0, step), samples / rate, step)
    times = times + rng.normal(0, 0.002, len(times))
    length = int(0.06 * rate)
    parts = [(between(rng, 900, 6500), between(rng, 0.002, 0.012)) for _ in range(4)]  # Hz, seconds to die to 1/e
    sound = np.zeros(samples)
    for first, pitch in ((0, 1.0), (1, rng.uniform(0.6, 0.85))):
        hit = impulses(length, rate, [0.001, rng.uniform(0.01, 0.02)], [1, 0.5])
        hit = hit + 8 * smoothed(hit, rate, 0.003) * rng.standard_normal(length)  # parts scrape as they meet
        click = sum(ring(hit, rate, hz * pitch, decay) for hz, decay in parts)
        sound += copies(click, samples, rate, times[first::2])
    return sound


def engine(rng, samples, rate):
    """Combustion pulses, none quite like the last, through the exhaust pipe's resonances; the cylinders differ."""
    firing = between(rng, 22, 75) * 2 ** (0.25 * wander(rng, samples, rate, 0.6))  # Hz: follows the throttle
    turns = np.cumsum(firing) / rate + rng.random()
    starts = np.flatnonzero(np.diff(np.floor(turns), prepend=0.0) > 0) / rate
    count = len(starts)
    sizes = rng.uniform(0.5, 1.2, 4)[np.arange(count) % 4] * rng.uniform(0.7, 1.3, count)
    pulses = impulses(samples, rate, starts + rng.normal(0, 0.001, count), sizes)
    gas = smoothed(pulses, rate, 0.004) * rng.standard_normal(samples)  # rushes out while a valve is open
    pulses = pulses + between(rng, 2, 12) * gas
    pipe = ((70, 180, 0.015), (250, 600, 0.006), (800, 2500, 0.002))  # Hz from, to; seconds to die to 1/e
    return sum(between(rng, 0.5, 1.5) * ring(pulses, rate, between(rng, low, high), decay) for low, high, decay in pipe)


def rain(rng, samples, rate):
    """Drops fall independently (a Poisson process); each rings a few milliseconds, loud ones are rare; hiss behind."""
    drops = between(rng, 60, 500) * samples / rate  # expected in the clip
    near = np.zeros(samples)
    for hz in np.geomspace(between(rng, 600, 1500), between(rng, 4000, 7500), 6):
        count = rng.poisson(drops / 6)
        hits = impulses(samples, rate, rng.uniform(0, samples / rate, count), rng.exponential(1, count) ** 1.5)
        near += ring(hits, rate, hz * between(rng, 0.8, 1.25), between(rng, 0.0007, 0.003))
    far = noise(rng, samples, rate, rng.uniform(0, 1))  # drops too many to tell apart
    return unit(near) + between(rng, 0.25, 1) * far


def bell(rng, samples, rate):
    """Struck metal: partials at ratios that are not whole, the high ones dying first."""
    prime, decay = between(rng, 280, 1300), between(rng, 0.15, 0.7)  # Hz, seconds to die to 1/e
    strikes = np.arange(rng.uniform(0, 0.15), samples / rate, rng.uniform(0.4, 1.2))
    hits = impulses(samples, rate, strikes, rng.uniform(0.6, 1, len(strikes)))
    hits = hits + 3 * smoothed(hits, rate, 0.002) * rng.standard_normal(samples)  # the clapper's knock
    ratios = BELL * rng.normal(1, 0.01, len(BELL))
    sizes = rng.uniform(0.2, 1, len(BELL)) / BELL**0.3
    heard = [(size, ratio) for size, ratio in zip(sizes, ratios, strict=True) if prime * ratio < 0.45 * rate]
    return sum(size * ring(hits, rate, prime * ratio, decay / ratio**0.7) for size, ratio in heard)


def bird(rng, samples, rate):
    """A song: one short whistled syllable, its pitch gliding steeply, repeated some times a second; then a pause."""
    speed, width = rng.uniform(5, 11), rng.uniform(0.5, 0.8)  # syllables a second; share of one that sounds
    count = speed * (np.arange(samples) / rate + rng.uniform(0, 0.2))
    syllable, u = np.floor(count), part(count)
    v = u / width - 0.5  # -0.5 to 0.5 while it sounds
    glide, arch = rng.uniform(0.4, 1) * rng.choice([-1, 1]), rng.uniform(-1.5, 1.5)  # octaves up or down, and bent
    hz = between(rng, 1600, min(4200, 0.27 * rate)) * 2 ** (glide * v + arch * (v * v - 0.1) + 0.05 * np.sin(syllable))
    hz = np.minimum(hz, 0.45 * rate)
    song = rng.integers(4, 10)  # syllables, then a rest of two
    loud = hump(u, width, 0.4) * (syllable % (song + 2) < song)
    return loud * overdriven(phase(hz, rate), between(rng, 0.2, 1))


def heartbeat(rng, samples, rate):
    """Lub-dub: two thuds of closing valves, the second shorter and a little higher after a third of the period."""
    period = rng.uniform(0.4, 0.8)  # 150 to 75 beats a minute
    systole = period * rng.uniform(0.28, 0.38)
    beats = np.arange(rng.uniform(-systole, 0.5 * period), samples / rate, period)
    pitch, length = between(rng, 50, 150), int(0.2 * rate)
    sound = np.zeros(samples)
    lub, dub = (beats, 1.0, pitch, 0.03), (beats + systole, between(rng, 0.5, 0.9), 1.4 * pitch, 0.02)
    for times, size, hz, decay in (lub, dub):
        hit = smoothed(impulses(length, rate, [0]), rate, 0.003)
        hit = hit * (1 + 0.5 * rng.standard_normal(length))  # blood is turbulent as it is stopped
        thud = ring(hit, rate, hz, decay) + 0.5 * ring(hit, rate, 2.3 * hz, 0.6 * decay)
        sound += size * copies(thud, samples, rate, times)
    return sound


def alarm(rng, samples, rate):
    """A beeper: one steady pitch, keyed on and off, in groups of beeps with a pause (or without an end)."""
    beeps, duty = rng.uniform(3.5, 8), rng.uniform(0.4, 0.65)  # a second; share that sounds
    group = rng.choice([2, 3, 4, 1000])
    count = beeps * (np.arange(samples) / rate + rng.uniform(0, 0.2))
    loud = hump(part(count), duty, 0.08) * (count % (group + 1) < group)
    return loud * overdriven(phase(np.full(samples, between(rng, 450, 3200)), rate), between(rng, 0.5, 6))


def speech(rng, samples, rate):
    """Source and filter: each closing of the vocal folds rings four formants anew, which glide from vowel to vowel."""
    tract, syllables = rng.uniform(0.95, 1.25), rng.uniform(3, 5.5)  # formant scale: man to child; a second
    t = syllables * np.arange(samples) / rate + rng.random()  # in syllables
    count = int(t[-1]) + 3
    octaves = 0.25 * wander(rng, samples, rate, 0.25) - 0.15 * t / count  # falls, as in a statement
    pitch = between(rng, 90, 230) * 2**octaves
    fold = part(np.cumsum(pitch) / rate)  # 0 at each closing
    since = (fold / pitch).astype(np.float32)  # seconds since it
    knots = (np.arange(count)[:, None] + [0.25, 0.75]).ravel()  # a vowel holds for half its syllable, then glides
    place = np.interp(t, knots, np.repeat(np.arange(count), 2))  # from vowel to vowel, in vowels
    said, moved = VOWELS[rng.integers(0, len(VOWELS), count)] * tract, part(place)
    now, after = place.astype(int), np.minimum(place.astype(int) + 1, count - 1)
    voiced = np.zeros(samples)
    for formant, size, band in zip(said.T, (1, 0.6, 0.35, 0.2), (70, 90, 120, 180), strict=True):  # Hz wide
        hz = np.minimum((1 - moved) * formant[now] + moved * formant[after], 0.45 * rate).astype(np.float32)
        voiced += size * np.exp(-np.pi * band * since) * np.sin(2 * np.pi * hz * since)
    u, syllable = part(t), t.astype(int)
    voiced *= rng.uniform(0.5, 1, count)[syllable] * hump(part(u - 0.2), 0.75, 0.25)
    breath = ring(rng.standard_normal(samples), rate, between(rng, 3000, 6000), 0.0003)  # s, sh, f between the vowels
    breath *= (rng.random(count) < 0.6)[syllable] * hump(u, 0.28, 0.4)
    return unit(voiced) + rng.uniform(0.15, 0.5) * unit(breath)


SOUNDS = {f.__name__: f for f in (siren, telephone, clock, engine, rain, bell, bird, heartbeat, alarm, speech)}
