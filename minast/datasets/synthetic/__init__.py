"""The built-in sounds: `generate` draws a clip from a seed, `sounds` makes each kind, `synth` has the parts."""
