"""Files: checkpoints and safetensors."""
