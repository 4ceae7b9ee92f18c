"""Pretraining on video clips: windows of clips, tubelet tokens, tube masks, the predictor, and an attentive probe."""
