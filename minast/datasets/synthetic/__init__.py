"""The built-in sounds: `generate` draws one by seed, `sounds` makes each kind, `synth` has the parts."""
