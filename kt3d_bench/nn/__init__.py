"""Network parts that two methods share: backbones, soft-argmax, gradient reversal, input normalisation."""
