"""`make bench`: how fast flowlake is, what it needs, and how it does beside a floor and a peer, in one run."""
