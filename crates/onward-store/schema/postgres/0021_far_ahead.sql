-- Messages about somebody who comes more than a week later: their copies may be old and still wait for the arrival. A step of its own:
-- one that locked transfers and then copies would be ended as a deadlock beside nodes that serve.
CREATE INDEX transfers_far_ahead ON transfers (expected) WHERE expected > received + 604800000000;
