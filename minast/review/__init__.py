"""The page of a scan: what was found, to look at, to listen to and to judge. `minast scan ... --page DIR` writes it.

    DIR/index.html            the page, with all events in it; it opens from the disk, without a server or a network
    DIR/sounds/000012/        what it shows of one recording, loaded when somebody looks at it:
        2-0007.webp           a tile of the spectrogram: zoom level 2, TILE columns, the eighth of them
        0003.mp3              the fourth minute of the sound, as the model hears it: one channel at its rate
        r17.png               the relevance map of the event number 17: what the model looked at

| module | what it does |
| --- | --- |
| `spool` | the log-mel of a recording on the disk, a byte a value, while its pictures are made |
| `tiles` | a spectrogram of any length as pictures, at zoom levels |
| `recording` | the folder of one recording: tiles, sounds, relevance; memory does not grow with its length |
| `folder` | the folder of the page: whole or not at all, and what a stopped scan has written is not written again |
| `page` | index.html: the builder of `pages`, with timeline.js, review.js and review.css |

A verdict is y, n or another label. Verdicts are kept by the browser (localStorage) under a key that is a digest of the
checkpoint and the events, so that a page that is written again has those of before. What is downloaded is a manifest:

    file,start,end,label,verdict,heard,score        verdict: right, relabelled or wrong; heard: the label of the model

and `minast train labels.csv` takes it: each row is a part of its recording; rows that are wrong are left out.
"""

from .folder import Page

__all__ = ["Page"]
