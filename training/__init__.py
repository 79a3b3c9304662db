"""QLoRA training on accepted rows, evaluation against the champion, the gate and the registry."""
