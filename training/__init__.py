"""QLoRA training on accepted rows, evaluation against the champion, the gate and the registry."""

import os

# Before any library reads it: TRL and transformers report each training run to the hub otherwise.
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
