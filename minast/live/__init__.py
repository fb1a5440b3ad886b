"""Sound that is still to come: from a microphone, or from another program through standard input.

| module | what it does |
| --- | --- |
| `pcm` | bytes on standard input -> samples: a wav header, or raw PCM |
| `source` | blocks of samples as they arrive, through a queue: `Pipe`, and `Microphone` in `microphone` |
| `hearing` | the streaming core on such a source: events as soon as each is known, and how late they are |
"""
