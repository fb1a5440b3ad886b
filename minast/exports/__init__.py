"""A checkpoint for other programs.

| module | what it does |
| --- | --- |
| `graph` | a small builder of ONNX graphs: nodes, constants, names |
| `front` | waveform -> normalised log-mel, as operators of such a graph |
| `network` | normalised log-mel -> logits and probabilities, likewise |
| `onnx_file` | the two in one model with its description; int8; checked with onnxruntime |
| `hugging_face` | model.safetensors, config.json and preprocessor_config.json, for transformers |

[README.md](README.md) says how they are used, and what is converted or refused.
"""
