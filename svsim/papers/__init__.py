"""Papers whose evidence svsim predicts from their own baselines, one room each."""
