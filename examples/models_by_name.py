"""Another target, and what drafts for it: the trace keeps what was accepted, the models say what it costs."""

from pathlib import Path

import svsim

TRACE = Path(__file__).parent.parent / "traces" / "llama70b.parquet"

for drafting in ({"draft": "llama-3.2-1b"}, {"drafter": "eagle3"}, {"drafter": "ngram"}):
    table = svsim.replay(
        TRACE,
        methods=["td", "sd:k=1-5"],
        batch_sizes=[1, 16, 64],
        latency="roofline",
        hardware="h100_sxm",
        target="llama-3.1-8b",
        engine="none",  # bare passes; leave it out for what a server adds
        **drafting,
    )
    frame = table.to_frame()
    fastest = frame.loc[frame.groupby("batch_size")["goodput_tok_s"].idxmax()]
    print(*(f"{word}={name}:" for word, name in drafting.items()))
    print(fastest[["label", "batch_size", "goodput_tok_s", "speedup_vs_td"]].round(2).to_string(index=False))
