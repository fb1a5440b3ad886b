"""The built-in sounds: `clips` draws one by seed, `sounds` makes each kind, `synth` has the parts."""
